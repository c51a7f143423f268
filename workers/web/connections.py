"""The connections to the web server: bounded in number, and closed where nothing is heard for a while.

aiohttp bounds neither, and a client that connects and says nothing would hold a file for ever: without files a worker
can open no store and reach no broker.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_CONNECTIONS: Final = 128  # an orchestrator, a scraper and some people; beyond, the longest silent one makes room
# Beside what is being answered. Longer than most scrape intervals, so that a scraper keeps its connection.
SILENT_S: Final = 75.0
BACKLOG: Final = 16
"""Connections that the kernel holds: where files run out, asyncio logs a line for each of so many attempts a second."""


class Connections:
    """The connections that are open, the longest silent one first."""

    def __init__(self, most: int = MOST_CONNECTIONS, silent_s: float = SILENT_S) -> None:
        """Take how many may be open, and how long one may be silent."""
        self._most = most
        self._silent_s = silent_s
        self._heard: dict[asyncio.Transport, float] = {}
        self._answering: set[asyncio.Transport] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heard)

    def guard(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return a protocol factory whose connections are counted here."""
        return lambda: _Guarded(make(), self)

    @contextmanager
    def answering(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Count a connection as not silent while it waits for an answer, or hears one that is long."""
        counted = cast("asyncio.Transport", transport)
        self._answering.add(counted)
        try:
            yield
        finally:
            self._answering.discard(counted)
            if counted in self._heard:
                self.heard(counted)

    def heard(self, transport: asyncio.Transport) -> None:
        """Note that a connection was made, or said something."""
        is_new = self._heard.pop(transport, None) is None
        if is_new and len(self._heard) >= self._most:
            longest = next(iter(self._heard))
            next((each for each in self._heard if each not in self._answering), longest).abort()
        loop = asyncio.get_running_loop()
        self._heard[transport] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._silent_s, self._close_silent)

    def gone(self, transport: asyncio.Transport) -> None:
        """Note that a connection is closed."""
        self._heard.pop(transport, None)
        if not self._heard and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_silent(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for transport in self._answering & self._heard.keys():
            self.heard(transport)
        for transport, heard in list(self._heard.items()):
            left_s = heard + self._silent_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._close_silent)
                return
            self._heard.pop(transport)
            transport.abort()


class _Guarded(asyncio.Protocol):
    """Hands everything on to aiohttp's protocol, and tells of what it hears."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.heard(self._transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._connections.heard(self._transport)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.gone(self._transport)
        self._inner.connection_lost(exc)
