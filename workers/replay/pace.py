"""At most so many events a second.

A dozen lines instead of a library: nothing is shared between tasks but the moment of the next event, and a bucket that
may burst is not what a target wants that is to be spared.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.workers.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_monotonic: Final = SystemClock().monotonic


class Pace:
    """Hands out one moment after the other, evenly."""

    def __init__(
        self,
        rate: float | None,
        monotonic: Callable[[], float] = _monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take events per second, None for any number."""
        self._gap_s = 0.0 if rate is None else 1 / rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = monotonic()

    @property
    def is_limited(self) -> bool:
        """Whether an event may have to wait."""
        return self._gap_s > 0

    async def wait(self) -> None:
        """Wait for the moment of the next event."""
        if not self._gap_s:
            return
        now = self._monotonic()
        at = max(self._next, now)
        self._next = at + self._gap_s
        if at > now:
            await self._sleep(at - now)
