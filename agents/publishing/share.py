"""How much of a process's time catching up may take while others are published live: a third."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager

    from annals.agents.ports import Clock

REST: Final = 2  # times what a turn took: a turn and its rest are three parts, and catching up is one of them
LIVE_WITHIN_S: Final = 1.0


class Share:
    """Turns of all that catch up in a process: one at a time, with a rest behind it while there is live work."""

    def __init__(self, clock: Clock) -> None:
        """Take what measures turns."""
        self._clock = clock
        self._lock = asyncio.Lock()
        self._live_at = -LIVE_WITHIN_S

    def note_live(self) -> None:
        """Say that something was published live."""
        self._live_at = self._clock.monotonic()

    @asynccontextmanager
    async def turn(self, waiting: AbstractContextManager[None] | None = None) -> AsyncIterator[None]:
        """Wait for a turn, in a context if one is given, and have the others rest after it."""
        with waiting or nullcontext():
            await self._lock.acquire()
        try:
            began = self._clock.monotonic()
            yield
            ended = self._clock.monotonic()
            if ended - self._live_at < LIVE_WITHIN_S:
                await asyncio.sleep(REST * (ended - began))
        finally:
            self._lock.release()
