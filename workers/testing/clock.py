"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


class MemoryClock:
    """The time as a test sets it (the `Clock` port)."""

    def __init__(self, now: datetime = NOON) -> None:
        """Begin at a time, aware."""
        self._now = now.astimezone(UTC)
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """Return the time, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds by which the clock was advanced."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: the seconds are negative.
        """
        if seconds < 0:
            raise ValueError(f"time passes forwards only, not by {seconds} s; `step` sets the time of day back")
        self._elapsed_s += seconds
        self.step(seconds)

    def step(self, seconds: float) -> None:
        """Set the time of day, forwards or back, as an operator or NTP does: no time passes."""
        self._now += timedelta(seconds=seconds)
