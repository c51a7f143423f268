"""From which command a shard goes on: by the group's offset, by the outcomes, and by what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from annals.agents.ports import StaleStateError, StoppedError
from annals.agents.writing.recovery.lost_commands import lost_commands

if TYPE_CHECKING:
    from annals.agents.ports import LogRecovery, LogState, OutcomeRecord, ShardStore
    from annals.agents.writing.recovery.answered import Answers
    from annals.agents.writing.shard_id import ShardId

log = structlog.get_logger(__name__)


async def next_command(
    journal: LogRecovery,
    store: ShardStore,
    place: ShardId,
    seen: LogState,
    newest: OutcomeRecord | None,
    answers: Answers,
    *,
    accept_expired: bool,
) -> int:
    """Return the offset of the first command that is not decided.

    newest: the newest outcome that the journal bears out.

    Raises:
        StoppedError: commands were decided that are not there any more, or are gone undecided.
        StaleStateError: outcomes may be hidden at present; look again.
    """
    offset = seen.committed or 0
    beyond = 0 if newest is None else newest.command_offset + 1
    if seen.committed_journal_end is None:
        offset = max(offset, beyond)
    offset = _require_there(place, seen, offset, accept_expired=accept_expired)
    if seen.committed_journal_end is None and offset > max(beyond, seen.commands_start):
        _tell_passed_over(place, max(beyond, seen.commands_start), offset)
    if beyond > offset:
        offset = await _answered_until(store, place, seen, offset, beyond, answers)
    if lost := await lost_commands(journal, store, place, seen):
        again = min(lost)
        where = {"kind": place.kind, "partition": place.partition}
        log.error("commands were answered, but their events are void; deciding again", first=again, of=offset, **where)
        offset = min(offset, again)
    return offset


def _require_there(place: ShardId, seen: LogState, offset: int, *, accept_expired: bool) -> int:
    """Return the first command that is there from an offset on, if going on there passes nothing over."""
    if offset > seen.commands_end:
        raise StoppedError(
            f"{place.topic}-{place.partition} ends at offset {seen.commands_end}, and its commands were decided up "
            f"to {offset}: its end was cut off, or the group's offset was set by hand, and what is sent now would "
            f"be passed over. Restore it, or delete the group's offsets: what the journal has is recognised."
        )
    expired = seen.commands_start - offset
    if expired <= 0:
        return offset
    if not accept_expired:
        raise StoppedError(
            f"{place.topic}-{place.partition}: {expired} offsets of commands from {offset} on expired before "
            f"they were decided. Their senders have no answer; look for them there. To go on without them, "
            f"start the worker with --accept-expired."
        )
    where = {"kind": place.kind, "partition": place.partition}
    log.error("commands expired undecided", first=offset, offsets=expired, **where)
    return seen.commands_start


def _tell_passed_over(place: ShardId, first: int, offset: int) -> None:
    """Tell of offsets that somebody else committed past: senders of commands there may wait in vain.

    Which of them have an answer elsewhere is not looked up: that may take minutes, and decides nothing.
    """
    log.error(
        "the group's offset was set by hand, beyond the last outcome: commands from `first` on are passed over",
        first=first,
        of=offset,
        kind=place.kind,
        partition=place.partition,
    )


async def _answered_until(
    store: ShardStore, place: ShardId, seen: LogState, committed: int, beyond: int, answers: Answers
) -> int:
    """Return the first command behind the group's offset without an answer.

    The group's offset and the outcomes are of the same transactions: an outcome beyond an offset that this project
    committed is a stranger's, or else Kafka lost the later offset, and every command before it has its answer.
    """
    if seen.outcomes_stable < seen.outcomes_end:
        raise StaleStateError(
            f"there are outcomes beyond the group's offset {committed}, and somebody else's transaction is open on "
            f"the outcomes since offset {seen.outcomes_stable}; it ends by its producer or by the broker's timeout"
        )
    offset = await answers.first_missing(store, seen, committed, beyond)
    say = log.error if offset < beyond else log.warning
    where = {"kind": place.kind, "partition": place.partition}
    said = {"committed": committed, "outcomes_until": beyond, "answered_until": offset}
    say("outcomes beyond the group's offset", **said, **where)
    return offset
