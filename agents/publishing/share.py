"""How much of a process's time catching up may take while others are published live: a third."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have the others rest after it."""
        async with self._lock:
            began = self._clock.monotonic()
            yield
            ended = self._clock.monotonic()
            if ended - self._live_at < LIVE_WITHIN_S:
                await asyncio.sleep(REST * (ended - began))
