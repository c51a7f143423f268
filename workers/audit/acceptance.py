"""What a journal has, beside what was known of it: for the person who decides whether workers go on with what is there.

A worker stops where a journal lacks what was acknowledged. Most often it can be restored; where it cannot, or where
only offsets tell and those have changed by the restoring, somebody has to say so. The journal is verified whole,
compared with kept heads and with the outcomes that are still there, and only then the group's offset is written anew.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.backoff import Backoff
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.outcome import ACCEPTED, decode_outcome
from annals.topics.group_metadata import NOTHING_KNOWN, EventAt, GroupMetadata, decode_metadata, digest_of
from annals.topics.headers import JOURNAL_OFFSET, decimal_header
from annals.topics.names import TopicNames, transactional_id
from annals.workers.audit.chains import Chains
from annals.workers.audit.chunks import chunks_of, surveyor
from annals.workers.audit.journals import journals_of
from annals.workers.audit.kept_heads import heads_by_place
from annals.workers.audit.report import Report
from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, committed, list_offsets
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.read.single_record import record_at
from annals.workers.kafka.write.committed_records import read_partition
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.audit.journals import Journal
    from annals.workers.audit.kept_heads import KeptHead
    from annals.workers.settings import Settings

FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 2.0
MOST_RETRIES: Final = 5
MOST_MISSING: Final = 1_000
"""Missing events that are listed; the others are counted."""


class Deployment(NamedTuple):
    """Whose journal it is: the options of a client, the names of the topics, and the consumer group."""

    options: Mapping[str, Any]
    names: TopicNames
    group: str


def deployment_of(settings: Settings) -> Deployment:
    """Return the deployment that has these settings."""
    names = TopicNames(settings.topic_prefix)
    return Deployment(client_options(settings), names, names.group(settings.app_id))


class Missing(NamedTuple):
    """What was handed out and is not in the journal: by a kept head, or by an outcome (then with its version)."""

    aggregate_id: str
    cid: str
    version: int | None
    said_by: str


class _Said(NamedTuple):
    """What others say of a journal: the group's offset with its metadata, and where the outcomes begin and end."""

    group: tuple[int, str] | None
    outcomes: tuple[int, int]


class Comparison(NamedTuple):
    """One partition: what was known, what is there, and what is missing."""

    partition: int
    known: GroupMetadata
    known_until: int
    end: int
    last: EventAt | None
    next_command: int | None
    events: int
    heads: int
    missing: list[Missing]
    more: int
    lost: list[str]
    broken: list[str]

    @property
    def matches(self) -> bool:
        """Whether a worker goes on with this journal by itself."""
        return not self.lost

    @property
    def is_whole(self) -> bool:
        """Whether all that is known of is there, and only stands elsewhere."""
        return not (self.missing or self.broken)

    def is_acceptable(self, *, give_up: bool) -> bool:
        """Whether there is something to accept, and it may be; give_up: also without what is missing.

        Where the group's offset was lost it stops no worker, but what a worker or its data directory knows does.
        """
        may_stop = not self.matches or (self.known == NOTHING_KNOWN and bool(self.missing))
        return may_stop and not self.broken and (self.is_whole or give_up)

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        known, last = self.known.last, self.last
        return {
            "partition": self.partition,
            "known": {"end": self.known_until, "last": known and cid_text(known.cid), "offset": known and known.offset},
            "there": {"end": self.end, "last": last and cid_text(last.cid), "offset": last and last.offset},
            "events": self.events,
            "kept_heads": self.heads,
            "missing": [each._asdict() for each in self.missing],
            "more": self.more,
            "lost": self.lost,
            "broken": self.broken,
        }


async def compare(deployment: Deployment, kind: str, heads: Sequence[KeptHead]) -> list[Comparison]:
    """Compare each partition of a kind's journal with what is known of it; changes nothing.

    Reads the journal twice and the outcomes once; memory grows with the aggregates of the largest partition.

    Raises:
        MissingTopicError, KafkaError, RangeGoneError: Kafka did not give what it has, also not when asked again.
    """
    options, names, _ = deployment
    backoff, retries = Backoff(FIRST_RETRY_S, LAST_RETRY_S), 0
    while True:
        # Not asked for again where no broker answers: connecting has waited for that already.
        client = await connect(options, [names.commands(kind), names.events(kind), names.outcomes(kind)])
        try:
            return await _compare_all(client, deployment, kind, heads)
        except KafkaError as error:  # leaders move, and those of new topics are not known everywhere at once
            if not error.retriable or retries == MOST_RETRIES:
                raise
        finally:
            await client.close()
        retries += 1
        await backoff.wait()


async def _compare_all(
    client: AIOKafkaClient, deployment: Deployment, kind: str, heads: Sequence[KeptHead]
) -> list[Comparison]:
    options, names, group = deployment
    commands, outcomes = names.commands(kind), names.outcomes(kind)
    # Before the journals' ends: a worker may be writing, and what is newer is not in what is older.
    partitions = range(partitions_of(client, names.events(kind)))
    said = [
        _Said(
            await committed(client, group, TopicPartition(commands, each)),
            await _bounds(client, TopicPartition(outcomes, each)),
        )
        for each in partitions
    ]
    journals = await journals_of(options, names, [kind])
    kept = heads_by_place([journal.place for journal in journals], heads)
    compared = zip(journals, said, strict=True)
    return [await _compare(deployment, client, journal, kept[journal.place], each) for journal, each in compared]


async def _bounds(client: AIOKafkaClient, where: TopicPartition) -> tuple[int, int]:
    """Return the first offset and the last stable one."""
    start = (await list_offsets(client, HIGH_WATERMARK, FIRST, [where]))[where]
    return start, (await list_offsets(client, LAST_STABLE, LAST, [where]))[where]


async def _compare(
    deployment: Deployment, client: AIOKafkaClient, journal: Journal, mine: Sequence[KeptHead], said: _Said
) -> Comparison:
    kind, _, partition, _ = journal.place
    options, names, _ = deployment
    commands, outcomes = (
        TopicPartition(names.commands(kind), partition),
        TopicPartition(names.outcomes(kind), partition),
    )
    group = said.group
    known = decode_metadata(group[1]) if group else NOTHING_KNOWN
    report, chains = await _verified(options, journal, mine)
    last, is_known_there = await _last(client, journal, chains, known.last)
    missing = [
        Missing(head.aggregate_id, cid_text(head.cid), None, "a kept head") for head in mine if not chains.has_met(head)
    ]
    missing_by_outcomes, reached = await _missing_by_outcomes(options, outcomes, said.outcomes, chains)
    missing += missing_by_outcomes
    until = max(known.journal_end or 0, reached if known.journal_end is None else 0)
    lost = []
    if known.last is not None and not is_known_there:
        lost.append(f"the last known event, {known.last}, is not in the journal")
    elif known.last is None and journal.end < (known.journal_end or 0):  # what outcomes say of it stops no worker
        lost.append(f"the journal reached {until}, and ends at offset {journal.end}")
    lost += await _lost_records(client, "command", commands, known)
    lost += await _lost_records(client, "outcome", outcomes, known)
    return Comparison(
        partition, known, until, journal.end, last, group[0] if group else None, report.events, len(mine),
        missing[:MOST_MISSING], max(0, len(missing) - MOST_MISSING), lost, [str(place) for place in report.broken],
    )  # fmt: skip


async def _verified(options: Mapping[str, Any], journal: Journal, heads: Sequence[KeptHead]) -> tuple[Report, Chains]:
    report = Report(tolerates_void=True, tolerates_differing=True)
    chains = Chains(journal.place, report, watched=heads)
    async with surveyor(options, [journal.place.topic]) as look:
        for chunk in chunks_of(journal):
            chains.add(await look(chunk))
    return report, chains


async def _last(
    client: AIOKafkaClient, journal: Journal, chains: Chains, known: EventAt | None
) -> tuple[EventAt | None, bool]:
    """Return the last event that counts, which is its aggregate's head, and whether the known one is there.

    A worker goes on with a known one that is there, whether it counts or not.
    """
    last, is_known_there = None, False
    where = TopicPartition(journal.place.topic, journal.place.partition)
    async with aclosing(read_range(client, where, journal.start, journal.end)) as steps:
        async for records in steps:
            for offset, key, value, _ in records:
                if key is None or value is None:
                    continue
                cid = cid_of(value)
                is_known_there |= known is not None and cid == known.cid
                if chains.head(key)[1] == cid:
                    last = EventAt(offset, cid)
    return last, is_known_there


async def _missing_by_outcomes(
    options: Mapping[str, Any], where: TopicPartition, bounds: tuple[int, int], chains: Chains
) -> tuple[list[Missing], int]:
    """Return the events that accepted outcomes name and the chains lack, and the largest `journal-offset` in outcomes.

    Of versions below a chain's head none is compared: a chain without a gap has an event for each.
    """
    missing, reached = {}, 0
    async for records in read_partition(options, where, *bounds):
        for record in records:
            try:
                outcome = decode_outcome(record.value or b"")
            except ValueError:  # a stranger's
                continue
            reached = max(reached, decimal_header(record.headers, JOURNAL_OFFSET) or 0)
            version, head = chains.head(outcome.aggregate_id.encode())
            for event in outcome.events if outcome.status == ACCEPTED else ():
                is_head = event.version == version and head is not None and event.cid == cid_text(head)
                if event.version > version or (event.version == version and not is_head):
                    said_by = f"the outcome of command {outcome.command_id}"
                    missing[event.cid] = Missing(outcome.aggregate_id, event.cid, event.version, said_by)
    return list(missing.values()), reached


async def _lost_records(client: AIOKafkaClient, what: str, where: TopicPartition, known: GroupMetadata) -> list[str]:
    """Return what to say if the last known command or outcome is gone, and has not expired."""
    record = known.command if what == "command" else known.outcome
    start, stable = await _bounds(client, where)
    if record is None or record.offset < start:
        return []
    if record.offset < stable:
        digest = record.digest
        there = await record_at(client, where, record.offset, lambda found: digest_of(found[2]) == digest)
        if there is not None and digest_of(there[2]) == record.digest:
            return []
    return [
        f"the last known {what}, {record}, is not in {where.topic}-{where.partition}, which ends at offset {stable}"
    ]


async def accept(deployment: Deployment, kind: str, comparison: Comparison) -> None:
    """Have workers go on with what is there: write the group's offset of a partition anew.

    What is known of the place is given up, by whoever knows it. Where commands or outcomes are gone as well, workers
    find out by the outcomes what is decided, as after a lost offset.

    Raises:
        FencedError, UncertainError, KafkaError: it was not written.
    """
    options, names, group = deployment
    commands, partition, known = names.commands(kind), comparison.partition, comparison.known
    writer = TransactionalWriter(
        options, transactional_id(names.events(kind), partition), [commands, names.outcomes(kind)]
    )
    try:
        await writer.fence()
        client = await writer.connected()
        where = TopicPartition(commands, partition)
        kept = {name: not await _lost_records(client, name, TopicPartition(topic, partition), known)
                for name, topic in (("command", commands), ("outcome", names.outcomes(kind)))}  # fmt: skip
        start = (await list_offsets(client, HIGH_WATERMARK, FIRST, [where]))[where]
        is_sure = all(kept.values()) and known.journal_end is not None and comparison.next_command is not None
        last_known = known.last.offset + 1 if known.last else 0
        metadata = GroupMetadata(
            comparison.end if is_sure else None,
            comparison.last,
            # its end, too: where nothing else is known, a worker must see that somebody decided
            max(comparison.known_until, known.accepted_until, last_known, comparison.end),
            known.command if kept["command"] else None,
            known.outcome if kept["outcome"] else None,
            known.unsure_until,
            known.others,
        )
        offset = comparison.next_command if is_sure and comparison.next_command is not None else start
        await writer.commit({}, Offsets(group, commands, partition, offset, metadata.encode()), {})
    finally:
        await writer.close()
