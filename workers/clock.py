"""The only clocks, and the only source of random ids."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annals.agents.ports import Clock


class SystemClock:
    """The machine's clock (the `Clock` port)."""

    def now(self) -> datetime:
        """Return the time, UTC, aware."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        """Return seconds that never step back, from some start."""
        return time.monotonic()


class SteadyClock:
    """A clock whose time of day never steps back (the `Clock` port): by it, what is due in one process comes in time.

    Where the clock behind it is set back, it goes on as time passes, and is ahead of that one until it has come as far.
    """

    def __init__(self, clock: Clock) -> None:
        """Take the clock that it follows forwards. Times of two of these are not to be compared."""
        self._clock = clock
        self._began_at = -inf  # the time of day, in seconds since 1970, at the start of the elapsed time

    def now(self) -> datetime:
        """Return the time, UTC, aware."""
        now, elapsed_s = self._clock.now(), self._clock.monotonic()  # what passes between them counts once
        self._began_at = max(self._began_at, now.timestamp() - elapsed_s)
        return datetime.fromtimestamp(self._began_at + elapsed_s, UTC)

    def monotonic(self) -> float:
        """Return seconds that never step back, from some start."""
        return self._clock.monotonic()


def loop_time() -> float:
    """Return the event loop's time in seconds: in a simulation that of the history, not the machine's."""
    return asyncio.get_running_loop().time()


def new_id() -> str:
    """Return a UUID of version 7 (RFC 9562): ids in the order of their time."""
    milliseconds = time.time_ns() // 1_000_000  # noqa: TID251 - this is the clock
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    digits = f"{value:032x}"  # as `uuid.UUID` writes it, in a third of the time
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
