"""What a step takes: the events of a run, then the timers that are due, up to what the reaction cannot take.

A reaction may take seconds for one of them (`annals.agents.time_limit`): others have their turn between two, and a step
takes no more of them behind TAKING_S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.reacting.failures import ReactionFailedError
from annals.agents.reacting.processes import RUN_BYTES
from annals.agents.waiting import Turn

if TYPE_CHECKING:
    from annals.agents.ports import Clock
    from annals.agents.reacting.processes import Processes
    from annals.agents.reacting.rekeyed import Rekeying
    from annals.agents.reading.found import JournalEvent, JournalRun
    from annals.schemas.progress import Progress

TAKING_S: Final = 1.0  # a partition that is to move waits for the step's end, and readiness tells of a long one


class Reacted(NamedTuple):
    """What came of a run. position: the offset to go on from; cid: of the last event before it; last: what was taken.

    is_all: the run reached the end of what the shard has read; failure: why the event at the position was not taken.
    """

    position: int
    cid: bytes | None
    last: JournalEvent | None
    is_all: bool = False
    failure: ReactionFailedError | None = None


class Fired(NamedTuple):
    """What came of the timers that are due. has_more: there may be more; failure: why the next one was not taken."""

    has_more: bool
    failure: ReactionFailedError | None = None


async def react(processes: Processes | Rekeying, run: JournalRun, progress: Progress, clock: Clock) -> Reacted:
    """React to a run of events from a progress on, as far as time and a transaction allow."""
    cid, last, turn, until = progress.cid, None, Turn(clock), clock.monotonic() + TAKING_S
    for event in run.events:
        try:
            is_quiet = event.is_quiet or event.offset < progress.quiet_until
            processes.take(event, is_quiet=is_quiet, quiet_due=progress.quiet_due)
        except ReactionFailedError as error:
            return Reacted(event.offset, cid, last, failure=error)
        cid, last = event.cid, event
        if processes.command_bytes > RUN_BYTES or clock.monotonic() >= until:
            return Reacted(event.offset + 1, cid, last)
        await turn.end_if_long()
    return Reacted(max(progress.position, run.next_offset), cid, last, is_all=run.is_end)


async def fire(processes: Processes | Rekeying, until: str, most: int, quiet_due: str, clock: Clock) -> Fired:
    """Fire timers that are due up to a time, at most so many, as far as time and a transaction allow."""
    turn, taking_until = Turn(clock), clock.monotonic() + TAKING_S
    for _ in range(most):
        if processes.command_bytes > RUN_BYTES or clock.monotonic() >= taking_until:
            break
        try:
            if not processes.fire(until, 1, quiet_due=quiet_due):
                return Fired(has_more=False)
        except ReactionFailedError as error:
            return Fired(has_more=False, failure=error)
        await turn.end_if_long()
    return Fired(has_more=True)
