"""How long to wait before an event is delivered again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from annals.schemas.subscription import Retry

MOST_DOUBLINGS: Final = 32  # beyond, the longest delay is reached whatever the first one is


def back_off_ms(retry: Retry, tries: int, draw: float) -> int:
    """Return a delay with full jitter: from 0 to a limit that doubles with each try. draw: from 0 to below 1.

    The whole range is drawn from: what failed together must not come back together.
    """
    doublings = min(max(tries - 1, 0), MOST_DOUBLINGS)
    return int(draw * min(retry.max_delay_ms, retry.first_delay_ms << doublings))
