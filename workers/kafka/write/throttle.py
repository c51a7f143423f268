"""What brokers ask of a client that goes beyond a quota: to send nothing for a while.

They answer at once, say how long in `throttle_time_ms`, and read nothing from that connection meanwhile (KIP-219).
"""

from __future__ import annotations

from typing import Any

from annals.workers.clock import loop_time


class Throttle:
    """Until when nothing is to be sent."""

    def __init__(self) -> None:
        """Begin free."""
        self._until = 0.0

    @property
    def left_s(self) -> float:
        """The seconds that are left; 0 when there are none."""
        return max(0.0, self._until - loop_time())

    def note(self, answer: Any) -> None:
        """Take what an answer asks for."""
        if throttled_ms := getattr(answer, "throttle_time_ms", 0):
            self._until = max(self._until, loop_time() + throttled_ms / 1000)
