"""A reaction that begins in a new version: where it begins, and what goes of the version before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from annals.agents.reacting.ports import ReactionWrites
from annals.schemas.progress import Progress
from annals.schemas.values.moments import moment_of, recorded_at

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from annals.agents.pace import Pace
    from annals.agents.reacting.ports import ReactionLog


def begun_anew(old: Progress, version: int) -> Progress:
    """Return where a version begins: at the journal's first event, sending nothing for what the old one has handled.

    That is every event below the old version's position, and every timer that was due up to its last one.
    """
    quiet_until = max(old.position, old.quiet_until)
    return Progress(0, version=version, quiet_until=quiet_until, quiet_due=max(old.fired, old.quiet_due))


def all_fired_until(last: str, next_due: str | None) -> str:
    """Return up to when all timers have fired. last: when the latest of these was due; next_due: the first that is set.

    That may be earlier: an event has timers of its own process fire, also where the clock, or the run of events, has
    not come so far. A newer version would take those of other processes for fired.
    """
    if next_due is None or next_due > last:
        return last
    try:
        return recorded_at(moment_of(next_due) - timedelta.resolution)
    except OverflowError:  # the first moment that there is
        return ""


async def remove_rows(
    writer: ReactionLog, kept: Iterable[bytes], progress: Progress, pace: Pace, may_run: asyncio.Event
) -> None:
    """Remove rows of another version, as many in a transaction as its time allows.

    Each transaction says that this version begins: whoever opens after it goes on with the rest.
    """
    left = list(kept)
    is_told = False
    while left or not is_told:
        await pace.obey(writer.throttled_s())
        await may_run.wait()
        some = left[: pace.most]
        with pace.committing(len(some) or 1, writer.throttled_s):
            await writer.commit(ReactionWrites((), dict.fromkeys(some), progress))
        is_told = True
        del left[: len(some)]
