"""How long to wait before an event is delivered again, and what of that holds where the subscription has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from annals.schemas.delivery import IN_FLIGHT, WAITING

if TYPE_CHECKING:
    from annals.schemas.delivery import Row
    from annals.schemas.subscription import Retry

MOST_DOUBLINGS: Final = 32  # beyond, the longest delay is reached whatever the first one is


def back_off_ms(retry: Retry, tries: int, draw: float) -> int:
    """Return a delay with full jitter: from 0 to a limit that doubles with each try. draw: from 0 to below 1.

    The whole range is drawn from: what failed together must not come back together.
    """
    doublings = min(max(tries - 1, 0), MOST_DOUBLINGS)
    return int(draw * min(retry.max_delay_ms, retry.first_delay_ms << doublings))


def waiting_now(row: Row, retry: Retry, endpoint: str | None, now: int) -> Row:
    """Return a row as it waits under the policy and for the endpoint that the subscription has now.

    What was posted to another endpoint comes again at once: whoever posts has broken off what was under way, and what
    that one answered says nothing of this one, neither that it asked to wait nor that it failed. A delay that was drawn
    is never longer than the policy allows now; one that an answer asked for stays as it is.

    now: in milliseconds since 1970. A row of a later time is of a clock that was ahead of this one, or that was set
    back since: it waits from now on for as long as it was to; one that was due before that, which is no wait, is due.
    """
    if row.state in (WAITING, IN_FLIGHT) and row.at > now:
        row = replace(row, at=now, due=max(now, now + row.due - row.at))
    if row.state in (WAITING, IN_FLIGHT) and row.endpoint not in {None, endpoint}:
        return replace(row, state=WAITING, due=row.at, reason=None, is_drawn=False, endpoint=None)
    if row.state == WAITING and row.is_drawn and row.due > row.at + retry.max_delay_ms:
        return replace(row, due=row.at + retry.max_delay_ms)
    return row
