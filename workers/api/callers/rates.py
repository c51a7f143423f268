"""How often one caller may ask: a moving window per principal, and per address for who is not known."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from annals.workers.api.http.problems import TOO_MANY_REQUESTS, Problem

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """So many requests a second per caller; None: as many as they like."""

    def __init__(self, per_second: int | None) -> None:
        """Take the limit."""
        self._item = None if per_second is None else RateLimitItemPerSecond(per_second)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def hit(self, caller: str) -> None:
        """Count a request.

        Raises:
            Problem: it is one too many.
        """
        if self._item is None or self._limiter.hit(self._item, caller):
            return
        reset_time, _ = self._limiter.get_window_stats(self._item, caller)
        wait_s = max(1, math.ceil(reset_time - _now()))
        raise Problem(
            429,
            TOO_MANY_REQUESTS,
            f"at most {self._item.amount} requests a second are answered",
            headers={"retry-after": str(wait_s)},
        )


_now: Callable[[], float] = time.time  # noqa: TID251 - the clock that `limits` measures by
