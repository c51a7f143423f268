"""Whether a journal still has what was acknowledged.

What is known is the last event that counts: its CID, and where it stood (`annals.agents.folding.known_events`). Three
places know one: the group's offset, a worker that had the shard before, and the shard's store.

What is gone is a loss, never the work of another writer or a stale store. What stands elsewhere was restored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from annals.agents.folding.known_events import first_with, has_all, is_event, knows_any, lost_end
from annals.agents.ports import StoppedError, command_key
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.outcome import decode_outcome
from annals.topics.group_metadata import EventAt

if TYPE_CHECKING:
    from annals.agents.ports import JournalRecord, LogReader, LogRecovery, LogState, LostEndError, ShardStore
    from annals.agents.writing.shard_id import ShardId
    from annals.topics.group_metadata import RecordAt

log = structlog.get_logger(__name__)


class Known(NamedTuple):
    """What was acknowledged of a journal: where it ended, and its last event that counts, as far as that is known.

    accepted_until: up to where a person had given up what was known before (`annals.topics.group_metadata`).
    """

    end: int
    last: EventAt | None = None
    accepted_until: int = 0

    def __str__(self) -> str:
        """Return it for people."""
        return f"it reached {self.end} before" + (f", its last event being {self.last}" if self.last else "")


NOTHING = Known(0)


def lost(place: ShardId, known: Known, end: int, there: str = "") -> LostEndError:
    """Return the error that names what was known and what is there."""
    return lost_end(
        place.kind, place.partition, end, f"{there}, and {known}", "written", is_sure=known.last is not None
    )


def require_end(place: ShardId, known: Known, end: int) -> None:
    """Check that the journal does not end below what is known.

    Raises:
        LostEndError: it does.
    """
    if end < known.end:
        raise lost(place, known, end)


def lost_record(what: str, known: RecordAt, end: int) -> StoppedError:
    """Return the error that names what was known of commands or outcomes, and what is there."""
    return StoppedError(
        f"{what}, end at offset {end} and lack what was acknowledged: {known}. Their end was cut off, or they were "
        f"made anew. Restore the topic, then restart the worker; 'annals journal accept' says what is missing and lets "
        f"somebody decide to go on without it."
    )


async def require_records(journal: LogRecovery, place: ShardId, seen: LogState) -> None:
    """Check that the commands and the outcomes have the last known record, unless that has expired.

    Raises:
        StoppedError: one of them lacks it.
    """
    where = f"of {place.kind}, partition {place.partition}"
    known = seen.last_command
    if known is not None and known.offset >= seen.commands_start:
        found = (
            await journal.command_digest(known.offset, known.digest) if known.offset < seen.commands_stable else None
        )
        if found != known.digest and known.offset >= (await journal.look()).commands_start:
            raise lost_record(f"the commands {where}", known, seen.commands_end)
    known = seen.last_outcome
    is_hidden = known is not None and seen.outcomes_stable <= known.offset < seen.outcomes_end  # by a stranger
    if known is not None and known.offset >= seen.outcomes_start and not is_hidden:
        found = (
            await journal.outcome_digest(known.offset, known.digest) if known.offset < seen.outcomes_stable else None
        )
        if found != known.digest and known.offset >= (await journal.look()).outcomes_start:
            raise lost_record(f"the outcomes {where}", known, seen.outcomes_end)


async def require_known(journal: LogRecovery, place: ShardId, seen: LogState, known: Known) -> EventAt | None:
    """Check that the journal has the last known event; return it with its present offset, None if none is known.

    A journal that has it may end lower: one that was restored from a copy of its records has fewer markers.

    Raises:
        LostEndError: the event is not in the journal, or, where none is known, the journal ends too low.
    """
    last = known.last
    if last is None:
        require_end(place, known, seen.journal_end)
        return None
    there = await record_at(journal, last.offset, last.cid, seen.journal_end)
    if is_event(there, last):
        return last
    found = await find(journal, last.cid, seen.journal_end)
    if found is not None:
        log.warning(
            "the journal was restored from a copy: its last known event stands elsewhere",
            kind=place.kind,
            partition=place.partition,
            known=str(last),
            found=found,
        )
        return last._replace(offset=found)
    instead = "no committed record" if there is None or there.value is None else cid_text(cid_of(there.value))
    is_behind = last.offset >= seen.journal_end
    raise lost(place, known, seen.journal_end, "" if is_behind else f", has {instead} at offset {last.offset}")


async def is_a_fold_of(
    store: ShardStore, journal: LogRecovery, place: ShardId, seen: LogState, known: EventAt | None
) -> bool:
    """Whether the store was folded from this journal as it is now; if not, it is to be folded anew.

    known: the last event that another place knows and the journal has.

    Raises:
        LostEndError: the store was folded from this journal, further than it reaches now.
    """
    position = store.position()
    if position.last_offset < 0:
        return True
    there = await record_at(journal, position.last_offset, position.last_cid, seen.journal_end)
    if position.stands_at(there):
        return True
    if position.last_offset < seen.accepted_until or (known is not None and position.last_offset <= known.offset):
        return False  # the journal is proven beyond the store, or somebody decided
    if not position.last_cid or await find(journal, position.last_cid, seen.journal_end) is not None:
        return False
    if await _is_of_another(store, journal, place, seen):
        return False
    if await has_all((stored.head for _, stored in store.aggregates()), journal.read(0, seen.journal_end)):
        return False
    raise lost(
        place,
        Known(position.offset, EventAt(position.last_offset, position.last_cid)),
        seen.journal_end,
        " (so the store in the data directory says; empty that if the journal is another one on purpose)",
    )


async def _is_of_another(store: ShardStore, journal: LogRecovery, place: ShardId, seen: LogState) -> bool:
    """Whether the store was folded from another journal: it knows no event of this one.

    Of a journal without events only the outcomes tell whether it ever had any: aborted batches raise its end, too.
    """
    is_known = await knows_any(journal.read(0, seen.journal_end), partial(counts, store, place.kind))
    if is_known is None:
        return seen.outcomes_start == 0 and await _never_had_any(journal, seen)
    return not is_known


async def _never_had_any(journal: LogRecovery, seen: LogState) -> bool:
    """Whether no outcome speaks of an event; where no outcome can be read, the group's offset must vouch."""
    is_told = seen.outcomes_end == 0 or seen.committed_journal_end is not None
    async for outcomes in journal.newest_outcomes(seen):
        for each in outcomes:
            try:
                version = decode_outcome(each.value or b"").version
            except ValueError:  # somebody else's
                continue
            if version > 0:
                return False
            is_told = True
    return is_told


def counts(store: ShardStore, kind: str, record: JournalRecord) -> bool | None:
    """Whether a record is an event that counts in the store's fold; None if it is no event at all."""
    try:
        event = read_block(kind, record.value)
    except ForeignError:
        return None
    known = store.command(command_key(record.key or b"", event["command_id"].encode()))
    return known is not None and cid_of(record.value or b"") in {cid for cid, _ in known[1]}


async def record_at(journal: LogReader, offset: int, cid: bytes, end: int) -> JournalRecord | None:
    """Return the committed record at an offset, which is to have a CID; None if there is none."""
    return await journal.event_at(offset, cid) if 0 <= offset < end else None


async def find(journal: LogReader, cid: bytes, end: int) -> int | None:
    """Return the offset of the first committed record that has a CID; None if there is none."""
    return await first_with(cid, journal.read(0, end))
