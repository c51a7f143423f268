"""How many records a reading shard took in the last minute, and how old they were then."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 60


class Pace:
    """Sums of whole seconds, of which those of the last minute are kept."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._seconds: deque[list[float]] = deque()  # second, records, sum of their ages, greatest age

    def note(self, now: float, records: int, age_s: float) -> None:
        """Note records that were taken, and the age of the oldest of them, which stands for all."""
        if not self._seconds or self._seconds[-1][0] != int(now):
            self._seconds.append([int(now), 0, 0.0, 0.0])
            self._forget(now)
        second = self._seconds[-1]
        second[1] += records
        second[2] += records * age_s
        second[3] = max(second[3], age_s)

    def measure(self, now: float) -> tuple[float, float, float]:
        """Return records per second, their mean age and the greatest, in seconds; 0 where there were none."""
        self._forget(now)
        records = sum(second[1] for second in self._seconds)
        if not records:
            return 0.0, 0.0, 0.0
        ages, greatest = sum(second[2] for second in self._seconds), max(second[3] for second in self._seconds)
        return records / WINDOW_S, ages / records, greatest

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_S:
            self._seconds.popleft()
