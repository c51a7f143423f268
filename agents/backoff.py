"""Waiting between attempts: longer each time, up to a limit."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

FIRST_S: Final = 0.5
LAST_S: Final = 30.0
LASTING_S: Final = 10.0  # failures that go on for so long do not pass by themselves; the last one is over behind it
FORGOTTEN_S: Final = 60.0  # also where nothing is tried any more: an attempt may take half of it
ANEW_S: Final = 120.0  # failures so far apart do not go on; an attempt that waits for brokers may take most of it

log = structlog.get_logger(__name__)


class Backoff:
    """Doubles its wait with each attempt that failed, and tells for how long attempts have, or one does not end."""

    def __init__(self, first_s: float, last_s: float) -> None:
        """Take the first wait and the longest one, in seconds."""
        self._first_s = first_s
        self._last_s = last_s
        self._next_s = first_s
        self._failed: tuple[float, float] | None = None  # when the first attempt did, and the last one
        self._began: float | None = None  # the piece of work that is under way

    @property
    def is_lasting(self) -> bool:
        """Whether attempts fail again and again, for LASTING_S by now, whatever succeeds between two of them."""
        if self._failed is None:
            return False
        first, last = self._failed
        return last - first >= LASTING_S and asyncio.get_running_loop().time() - last < FORGOTTEN_S

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Have a piece of an attempt, an opening or a step, last as long as this context.

        Each request to the brokers is bounded, and its failure is told; what waits for others in this process, or takes
        many requests, is not: `held_up` tells of it.
        """
        self._began = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._began = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave out of a piece what it waits for rightly, however long: its turn among others, as in this context."""
        self._began = None
        try:
            yield
        finally:
            self._began = asyncio.get_running_loop().time()

    def held_up(self, reason: str) -> str:
        """Return that a piece of work has lasted for LASTING_S, and the reason if one is known; empty if none has."""
        if self._began is None or asyncio.get_running_loop().time() - self._began < LASTING_S:
            return ""
        lasting = f"its opening, or a step of it, has lasted for more than {LASTING_S:.0f} s"
        return f"{lasting}: {reason}" if reason else lasting

    def reset(self) -> None:
        """Begin with the first wait again: an attempt succeeded."""
        self._next_s = self._first_s
        if self._failed is not None and asyncio.get_running_loop().time() - self._failed[1] >= LASTING_S:
            self._failed = None

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._take())

    async def wait_within(self, deadline: float) -> None:
        """Wait before the next attempt, but not beyond a deadline of the event loop's clock."""
        await asyncio.sleep(max(0.0, min(self._take(), deadline - asyncio.get_running_loop().time())))

    def _take(self) -> float:
        now = asyncio.get_running_loop().time()
        first, last = self._failed or (now, now)
        self._failed = (first if now - last < ANEW_S else now), now
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._last_s)
        return wait_s


async def run_again(run: Callable[[], Awaitable[None]], what: str) -> None:
    """Run what is to run until it returns or is cancelled, again and again where it fails. what: in the log.

    Else it would end unseen; of several that are awaited together the others would go on, and nobody could end them.
    """
    backoff = Backoff(FIRST_S, LAST_S)
    while True:
        try:
            await run()
        except Exception:
            log.exception("it failed, and is run again", what=what)
            await backoff.wait()
        else:
            return
