"""The brokers that did not answer a moment ago, as all clients of a process know them.

A machine that is gone without closing its connections is noticed by each client for itself, which takes as long as a
request may each time. What one has noticed the others go by: they ask that broker last, and wait for a connection to it
no longer than one that is there takes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from aiokafka.errors import KafkaConnectionError

from annals.workers.clock import loop_time

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

KNOWN_S: Final = 30.0  # then somebody waits for it once more: it may be slow, and not gone
SOON_S: Final = 3.0  # as long as a connection takes, with a login, to a broker that is busy


class SilentBrokers:
    """Until when each address counts as silent."""

    def __init__(self) -> None:
        """Begin with none."""
        self._until: dict[tuple[str, int], float] = {}

    def note(self, host: str, port: int) -> None:
        """Take that a broker did not answer."""
        if not self.has(host, port):  # else who waits shortly would have it count as silent for good
            self._until[host, port] = loop_time() + KNOWN_S

    def forget(self, host: str, port: int) -> None:
        """Take that it answered."""
        self._until.pop((host, port), None)

    def has(self, host: str, port: int) -> bool:
        """Whether it did not answer a moment ago."""
        return self._until.get((host, port), 0.0) > loop_time()

    async def connected(self, host: str, port: int, connecting: Awaitable[T | None], *, is_short: bool) -> T | None:
        """Return what connecting to a broker brings; None: nothing.

        is_short: wait no longer than a connection takes to one that is there.
        """
        began, found = loop_time(), None
        try:
            async with asyncio.timeout(SOON_S if is_short else None):
                found = await connecting
        except (TimeoutError, KafkaConnectionError):
            pass
        if found is not None:
            self.forget(host, port)
        elif loop_time() - began >= SOON_S:  # one that refuses is there, or its machine is
            self.note(host, port)
        return found


SILENT: Final = SilentBrokers()
