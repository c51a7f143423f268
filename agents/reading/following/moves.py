"""Waiting for a reading shard: it tells when it has read on, and whoever waits looks whether that is far enough."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from annals.agents.ports import Clock

LOOK_S: Final = 0.05  # a position may move by markers alone, of which nothing tells; at first
SELDOM_S: Final = 1.0  # and after a while: hundreds of streams may wait where nothing happens


class Moves:
    """Tells all that wait for one shard."""

    def __init__(self, clock: Clock) -> None:
        """Take the clock of the deadlines."""
        self._clock = clock
        self._moved = asyncio.Event()

    def tell(self) -> None:
        """Wake all that wait."""
        self._moved.set()
        self._moved = asyncio.Event()

    def wait(self) -> Coroutine[Any, Any, object]:
        """Return what waits for a `tell` that comes after this call, whenever it is awaited."""
        return self._moved.wait()

    async def until(self, is_so: Callable[[], bool], deadline: float, require_here: Callable[[], None]) -> bool:
        """Wait until something is so; False when it did not come.

        deadline: of the monotonic clock; require_here: raises once it is in vain to wait here.
        """
        look_s = LOOK_S
        while not is_so():
            require_here()
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, look_s)):  # `wait_for` would make a task of it
                    await self._moved.wait()
            except TimeoutError:
                look_s = min(2 * look_s, SELDOM_S)
            else:
                look_s = LOOK_S
        return True
