"""How often a web server answers: who asks again and again waits, and who seldom asks does not wait for them.

Health and metrics are answered on the event loop that decides. Without a bound, one client that asks as fast as it is
answered takes a third of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.workers.web.protocol import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

METRICS: Final = "/metrics"
METRICS_PER_S: Final = 20.0
OTHERS_PER_S: Final = 200.0


class Turns:
    """So many turns a second; where several wait, the one that has had none for longest is next.

    Those that never had one have every other turn, whoever came first: neither a flood of new ones nor one of kept ones
    keeps the others waiting.
    """

    def __init__(self, per_second: float) -> None:
        """Take how many."""
        self._gap_s = 1 / per_second
        self._next = 0.0
        self._waiting: dict[asyncio.Future[None], float | None] = {}
        self._was_new = False
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, last: float | None) -> None:
        """Return when it is this one's turn. last: when it had one before, by the loop's clock; None: never."""
        loop = asyncio.get_running_loop()
        if not self._waiting and loop.time() >= self._next:
            self._took(last)
            return
        turn = loop.create_future()
        self._waiting[turn] = last
        self._look_soon()
        try:
            await turn
        finally:
            self._waiting.pop(turn, None)

    def end(self) -> None:
        """Have all who wait go on."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()

    def _took(self, last: float | None) -> None:
        self._next = asyncio.get_running_loop().time() + self._gap_s
        self._was_new = last is None

    def _look_soon(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._next, self._give)

    def _give(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        turn = min(self._waiting, key=self._rank)
        last = self._waiting.pop(turn)
        if not turn.done():
            self._took(last)
            turn.set_result(None)
        self._look_soon()

    def _rank(self, turn: asyncio.Future[None]) -> tuple[bool, float]:
        last = self._waiting[turn]
        return (last is None) is self._was_new, last or 0.0


class PacedProtocol(HttpProtocol):
    """A connection that knows when it was answered last."""

    __slots__ = ("answered_at",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.answered_at: float | None = None
        super().connection_made(transport)


class Pace:
    """Has the requests of a server's connections answered in turns (a middleware of aiohttp).

    The first one of a connection does not wait, unless it is for metrics: to make a connection costs more than to
    answer it, and a probe makes a new one each time.
    """

    def __init__(self) -> None:
        """Begin."""
        self._metrics = Turns(METRICS_PER_S)
        self._others = Turns(OTHERS_PER_S)

    async def end(self, app: web.Application) -> None:  # noqa: ARG002 - aiohttp's signature
        """Have nobody wait any longer: the server stops when all are answered."""
        self._metrics.end()
        self._others.end()

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, when it is the connection's turn."""
        protocol = request.protocol
        assert isinstance(protocol, PacedProtocol)  # noqa: S101 - the server makes no other
        last = protocol.answered_at
        if request.path == METRICS:
            await self._metrics.wait(last)
        elif last is not None:
            await self._others.wait(last)
        try:
            return await handler(request)
        finally:
            protocol.answered_at = asyncio.get_running_loop().time()
