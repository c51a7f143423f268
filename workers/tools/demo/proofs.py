"""What the journal itself shows: every command once, one chain link by link, and a tampered copy that is caught."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import for_code
from aiokafka.structs import TopicPartition

from annals.schemas.canonical import decode, encode
from annals.schemas.cid import cid_of, parse_cid
from annals.topics.catalog import catalogue
from annals.topics.headers import block_headers
from annals.topics.names import TopicNames
from annals.topics.spec import Role
from annals.workers.audit.verify import verify_aggregate, verify_journals
from annals.workers.clock import new_id
from annals.workers.kafka.admin.cluster import administration
from annals.workers.kafka.connections import creating_nothing
from annals.workers.settings import client_options
from annals.workers.tools.demo.teller import expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from annals.workers.audit.report import Broken, Report
    from annals.workers.settings import Settings

    Record = tuple[int, bytes, bytes, list[tuple[str, bytes | None]]]  # partition, key, block, headers

KIND: Final = "person"
FETCH_MS: Final = 500
FORGED_EMAIL: Final = "eve@institute.example"


async def journal(settings: Settings, kind: str) -> list[Record]:
    """Return every committed record of a kind's journal, each partition's in its order."""
    topic = TopicNames(settings.topic_prefix).events(kind)
    partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
    consumer = creating_nothing(
        AIOKafkaConsumer(
            **client_options(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
    )
    records: list[Record] = []
    async with consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for fetched in (await consumer.getmany(timeout_ms=FETCH_MS)).values():
                records += [(each.partition, each.key, each.value, list(each.headers)) for each in fetched]
    return records


def each_once(records: Sequence[Record], ids: Collection[str]) -> None:
    """Count the events of these commands.

    Raises:
        DifferedError: one has none, or more than one.
    """
    counts = Counter(decode(block)["command_id"] for _, _, block, _ in records)
    lost = [each for each in ids if not counts[each]]
    twice = [each for each in ids if counts[each] > 1]
    expect(not lost, f"{len(lost)} commands were answered and have no event: {lost[:3]}")
    expect(not twice, f"{len(twice)} commands have more than one event: {twice[:3]}")


def whole_journal(settings: Settings, kinds: Sequence[str], versions: Mapping[str, tuple[int, str]]) -> Report:
    """Verify all journals, as `annals verify` does, and compare with what the outcomes have told.

    Raises:
        DifferedError: something is broken, void or foreign, or there are more events or fewer than were answered.
    """
    report = verify_journals(settings, kinds, processes=1)
    expect(report.is_good and not report.void and not report.foreign, f"`annals verify` found {_first(report)}")
    told = (sum(version for version, _ in versions.values()), len(versions))
    expect(
        (report.events, report.aggregates) == told,
        f"the outcomes told of {told[0]} events of {told[1]} aggregates, the journal has {report.events} of "
        f"{report.aggregates}",
    )
    return report


def kept_heads(settings: Settings, heads: Mapping[str, tuple[int, str]]) -> None:
    """Find each head that a run before has kept in its chain, as `annals verify --expect-head` does.

    Raises:
        DifferedError: one is not there.
    """
    for name, (_, head) in heads.items():
        kind, aggregate_id = name.split("/", 1)
        report = verify_aggregate(settings, kind, aggregate_id, expected_head=parse_cid(head), processes=1)
        expect(report.is_good, f"a head that was kept is not in the chain of {name}: {_first(report)}")


class Tampered(NamedTuple):
    """What verification said of the copy."""

    altered: Broken
    """The place that it named after one value was altered in the middle of a chain."""
    cut: Broken
    """What it said of a chain without its last event, given the head that was kept."""


class Copy(NamedTuple):
    """Where a tampered copy stands: topics of another prefix on the same broker."""

    settings: Settings
    altered_id: str
    cut_id: str


@asynccontextmanager
async def tampered_copy(settings: Settings, records: Sequence[Record], altered: str, cut: str) -> AsyncIterator[Copy]:
    """Copy two chains of persons; alter the second event of one, headers and all, and cut off the last of the other."""
    copy = replace(settings, topic_prefix=f"copy-{new_id()[-12:]}.")
    specs = catalogue(copy.topic_prefix, copy.partitions, copy.replication_factor, kinds=(KIND,))
    (spec,) = [each for each in specs if each.role is Role.EVENTS]
    async with administration(settings) as admin:
        answer = await admin.create_topics([NewTopic(spec.name, spec.partitions, 1, topic_configs=spec.config)])
        for _, code, message in answer.topic_errors:
            if code:
                raise for_code(code)(message)
    try:
        forged = [*_altered(records, altered), *_of(records, cut)[:-1]]
        async with creating_nothing(AIOKafkaProducer(**client_options(settings), acks="all")) as producer:
            for partition, key, block, headers in forged:
                await producer.send_and_wait(spec.name, block, key, partition=partition, headers=headers)
        yield Copy(copy, altered, cut)
    finally:
        async with administration(settings) as admin:
            await admin.delete_topics([spec.name])


def caught(copy: Copy, head: str) -> Tampered:
    """Verify the copy as `annals verify` does; head: the one that was kept of the chain that was cut off.

    Raises:
        DifferedError: the verification took it for good, or named something else.
    """
    report = verify_journals(copy.settings, [KIND], processes=1)
    named = {place.aggregate_id for place in report.broken}
    expect(named == {copy.altered_id}, f"only {copy.altered_id} was altered, verification named {named or 'nothing'}")
    first = report.broken[0]
    # The altered event is the second; what shows it is the third, whose link is to the one that was.
    expect(first.version == 3, f"the third event should not fit on the second, which was altered: {first}")
    alone = verify_aggregate(copy.settings, KIND, copy.cut_id, processes=1)
    expect(alone.is_good, f"what is left of the chain of {copy.cut_id} is a chain: {_first(alone)}")
    against = verify_aggregate(copy.settings, KIND, copy.cut_id, expected_head=parse_cid(head), processes=1)
    expect(not against.is_good, f"the last event of {copy.cut_id} is missing, and its kept head did not show it")
    return Tampered(first, against.broken[0])


def _of(records: Sequence[Record], aggregate_id: str) -> list[Record]:
    return [record for record in records if record[1] == aggregate_id.encode()]


def _altered(records: Sequence[Record], aggregate_id: str) -> list[Record]:
    chain = _of(records, aggregate_id)
    partition, key, block, _ = chain[1]
    event: dict[str, Any] = decode(block)
    forged = encode({**event, "data": {**event["data"], "email": FORGED_EMAIL}})
    chain[1] = (partition, key, forged, _headers(event, cid_of(forged)))
    return chain


def _headers(event: dict[str, Any], cid: bytes) -> list[tuple[str, bytes | None]]:
    """Headers that agree with the forged block: nobody should be caught by carelessness."""
    return list(block_headers(event, cid))


def _first(report: Report) -> str:
    return str(report.broken[0]) if report.broken else f"{report.void} void and {report.foreign} foreign records"
