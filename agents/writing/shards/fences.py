"""Whether two deployments fence each other: two fences within a minute that no rebalance explains."""

from __future__ import annotations

from typing import Final

MEMORY_S: Final = 60.0


class Fences:
    """Remembers when a shard was fenced."""

    def __init__(self) -> None:
        """Begin without any."""
        self._last: tuple[float, int] | None = None

    def is_fought_over(self, now: float, rebalances: int) -> bool:
        """Take a fence, and return whether there was another one within a minute and since the last rebalance.

        now: of a monotonic clock, in seconds; rebalances: how many there were so far.
        """
        last, self._last = self._last, (now, rebalances)
        return last is not None and now - last[0] < MEMORY_S and last[1] == rebalances
