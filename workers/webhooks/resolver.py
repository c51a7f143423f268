"""Looks a webhook's host up, and has only such addresses connected to as are permitted.

The connection is made to one of the addresses that were checked: a second look-up could find another one.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Lookup = Callable[[str, int, socket.AddressFamily], Sequence[tuple[str, int]]]

THREADS: Final = 8  # of its own: a name server that stalls must not take those that read files and stores


class AddressRefusedError(OSError):
    """A host has an address to which nothing is sent; the message names it."""


class CheckedResolver(AbstractResolver):
    """Refuses a host of which any address is refused."""

    def __init__(self, refusal: Callable[[str], str | None], lookup: Lookup | None = None) -> None:
        """Take why nothing is sent to an address (None: it may be), and what looks names up."""
        self._refusal = refusal
        self._lookup = lookup or look_up
        self._threads = ThreadPoolExecutor(THREADS, "webhook-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: it has none.
            AddressRefusedError: one of them is refused.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, partial(self._lookup, host, port, family))
        if not found:
            raise OSError(f"{host} has no address")
        for address, _ in found:
            if (why := self._refusal(address)) is not None:
                raise AddressRefusedError(f"{host}: {why}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=to_port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address, to_port in found
        ]

    async def close(self) -> None:
        """Begin no other look-up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
    """Return addresses and ports as the system has them."""
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [(str(sockaddr[0]), int(sockaddr[1])) for *_, sockaddr in found]
