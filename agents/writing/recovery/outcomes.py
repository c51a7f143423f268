"""Which outcome a shard believes where the group's offset may be lost: the newest that the journal bears out.

Anybody who may write to `outcomes` can name any command there. Were that believed, the commands before it would be
passed over, and nobody would answer them. So an outcome counts only if the folded journal says the same:

- one with events (accepted, or a duplicate's): exactly these are the events of its command;
- one without: the aggregate stood at its version and head when the journal ended where the outcome says;
- either: the command that it names is the one at its `command-offset`, as far as that is still there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from annals.agents.ports import command_key
from annals.agents.writing.restore.restored import resolve
from annals.schemas.cid import cid_text
from annals.schemas.journal_reader import Counted, RememberingReader
from annals.schemas.outcome import DUPLICATE, REJECTED, decode_outcome
from annals.schemas.wire.dead_letter import DeadLetter
from annals.schemas.wire.reading import read_command
from annals.topics.keys import keys_of, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.agents.ports import LogReader, LogRecovery, LogState, OutcomeRecord, ShardStore
    from annals.agents.writing.shard_id import ShardId
    from annals.schemas.outcome import Outcome

    Chain = dict[int, tuple[int, str]]  # by version: offset and CID of an event that counts

log = structlog.get_logger(__name__)

ANY_SIZE: Final = sys.maxsize  # what was answered was not too large then, whatever the setting says now


class _Claim(NamedTuple):
    """What a record of `outcomes` says, and whether it has the form of an outcome of this shard."""

    record: OutcomeRecord
    key: bytes
    outcome: Outcome


async def newest_outcome(
    journal: LogRecovery, store: ShardStore, place: ShardId, seen: LogState
) -> OutcomeRecord | None:
    """Return the newest outcome that the journal, folded into `store`, bears out; None if there is none.

    Usually that is the last record of the topic, found by one or two look-ups in the store. The journal is read again
    only for an outcome without events whose aggregate has changed since.
    """
    passed = 0
    async for step in journal.newest_outcomes(seen):
        older: list[_Claim] = []
        believed: OutcomeRecord | None = None
        for record in step:
            claim = _claim(record, place)
            if claim is not None:
                await resolve(store, journal, [_command_of(claim)])
            answer = False if claim is None else _is_borne_out(claim, store)
            if claim is not None and answer is None:
                older.append(claim)
            elif claim is not None and answer and await _names_its_command(journal, claim, seen):
                believed = record
                break
            else:
                passed += 1
        chains = await _chains_at_claims(journal, place, seen, older)
        for claim in older:
            if _stood(claim, chains[claim.key]) and await _names_its_command(journal, claim, seen):
                believed = claim.record
                break
            passed += 1
        if believed is not None:
            break
    else:
        believed = None
    if passed:
        log.error("void outcomes passed over", kind=place.kind, partition=place.partition, outcomes=passed)
    return believed


def _claim(record: OutcomeRecord, place: ShardId) -> _Claim | None:
    """Return what a record claims; None if it has not the form of an outcome of this shard."""
    key = record.key
    try:
        outcome = decode_outcome(record.value or b"")
        is_here = key == outcome.aggregate_id.encode() and outcome.kind == place.kind
    except ValueError:
        return None
    if key is None or not is_here or partition_of(key, place.partitions) != place.partition:
        return None
    if outcome.version < 0 or (outcome.head is None) != (outcome.version == 0):
        return None
    if outcome.status == REJECTED and outcome.events:
        return None
    if outcome.version == 0 and outcome.status != REJECTED:  # for an absent aggregate nothing is already true
        return None
    return _Claim(record, key, outcome)


def _command_of(claim: _Claim) -> bytes:
    return command_key(claim.key, claim.outcome.command_id.encode())


def _is_borne_out(claim: _Claim, store: ShardStore) -> bool | None:
    """Whether the store says the same; None if only the journal can tell."""
    key, outcome = claim.key, claim.outcome
    if outcome.events or outcome.status == DUPLICATE:
        known = store.command(_command_of(claim))
        if known is None:
            return False
        first, events = known
        listed = [(version, name, cid_text(cid)) for version, (cid, name) in enumerate(events, first)]
        said = [(event.version, event.type, event.cid) for event in outcome.events]
        last = listed[-1]
        return said == listed and (outcome.version, outcome.head) == (last[0], last[2])
    current = store.aggregate(key)  # absent: version 0, no head
    version, head = (0, None) if current is None else (current.version, cid_text(current.head))
    if outcome.version >= version:
        return (outcome.version, outcome.head) == (version, head)
    return None


async def _names_its_command(journal: LogRecovery, claim: _Claim, seen: LogState) -> bool:
    """Whether the command at the outcome's `command-offset` is the one that it answers.

    Not asked where the answer changes nothing: the group is ahead of it, or the command has expired.
    """
    offset = claim.record.command_offset
    if offset < max(seen.committed or 0, seen.commands_start):
        return True
    return await is_command_at(journal, offset, claim.outcome.command_id, claim.outcome.aggregate_id)


async def is_command_at(journal: LogRecovery, offset: int, command_id: str, aggregate_id: str) -> bool:
    """Whether a command with this id, of this aggregate, is at this offset."""
    record = await journal.command_at(offset)
    if record is None:
        return False
    command = read_command(record.key, record.value, record.headers, ANY_SIZE)
    if isinstance(command, DeadLetter):
        return False
    return (command.id, command.aggregate_id) == (command_id, aggregate_id)


async def borne_out(
    journal: LogRecovery, store: ShardStore, place: ShardId, seen: LogState, records: Sequence[OutcomeRecord]
) -> list[tuple[OutcomeRecord, Outcome]]:
    """Return those of these outcomes that the journal, folded into `store`, bears out, each with what it says.

    Whether they name the commands at their `command-offset` is left to the caller.
    """
    believed: list[_Claim] = []
    older: list[_Claim] = []
    claims = [_claim(record, place) for record in records]
    await resolve(store, journal, [_command_of(claim) for claim in claims if claim is not None])
    for claim in claims:
        answer = False if claim is None else _is_borne_out(claim, store)
        if claim is not None and answer is not False:
            (believed if answer else older).append(claim)
    chains = await _chains_at_claims(journal, place, seen, older)
    believed += [claim for claim in older if _stood(claim, chains[claim.key])]
    return [(claim.record, claim.outcome) for claim in believed]


async def _chains_at_claims(
    journal: LogReader, place: ShardId, seen: LogState, claims: Iterable[_Claim]
) -> dict[bytes, Chain]:
    """Return, by key, the events that count at each claim's version and at the next one, read from the journal."""
    chains: dict[bytes, Chain] = {}
    wanted: dict[bytes, set[int]] = {}
    for claim in claims:
        chains[claim.key] = {}
        wanted.setdefault(claim.key, set()).update((claim.outcome.version, claim.outcome.version + 1))
    if not chains:
        return chains
    reader = RememberingReader(place.kind, keys_of(place.partition, place.partitions))
    async for records in journal.read(0, seen.journal_end):
        for record in records:
            if record.key in chains:
                found = reader.read(record.offset, record.key, record.value)
                if type(found) is Counted:
                    version = found.event["version"]
                    if version in wanted[found.key]:
                        chains[found.key][version] = found.offset, cid_text(found.cid)
    return chains


def _stood(claim: _Claim, chain: Chain) -> bool:
    """Whether the aggregate stood at the outcome's version and head when the journal ended at `journal-offset`.

    That counts the marker of the outcome's own transaction: what was written after it begins one before.
    """
    version, head, end = claim.outcome.version, claim.outcome.head, claim.record.journal_end
    if end is None:
        return False
    if version and (version not in chain or chain[version][1] != head or chain[version][0] >= end):
        return False
    return version + 1 not in chain or chain[version + 1][0] >= end - 1
