"""Every stored event through the upcasters, and snapshots of former state versions made anew. Events are never touched.

Stores need nothing: a worker whose state version is another folds its own anew.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord
from annals.schemas.cid import cid_text
from annals.schemas.snapshot import Snapshot, SnapshotError, decode_snapshot, encode_snapshot
from annals.topics.catalog import SNAPSHOT_TOPIC_BYTES
from annals.topics.names import TopicNames
from annals.workers.audit.journals import find_journals
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.maintenance.walk import connected, events_of
from annals.workers.registry import deciders
from annals.workers.settings import client_options
from annals.workers.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.audit.journals import Journal
    from annals.workers.settings import Settings

HOT_BYTES = 64 << 20


class Failure(NamedTuple):
    """A stored event that this release cannot read."""

    cid: str
    kind: str
    aggregate_id: str
    version: int
    reason: str


class Migration(NamedTuple):
    """What was found, and done: events read, those of former versions, failures, snapshots that were out of date."""

    events: int
    upcast: int
    failures: list[Failure]
    outdated: int
    rewritten: int


async def migrate(settings: Settings, kinds: Sequence[str], *, dry_run: bool) -> Migration:
    """Read everything; write snapshots anew unless it is a dry run or an event cannot be read.

    Raises:
        MissingTopicError: a kind has no journal.
        KafkaError: the brokers do not answer.
        RangeGoneError: a journal was cut while it was read.
        StoppedError: a journal has a gap, so that no state can be told.
    """
    names = TopicNames(settings.topic_prefix)
    journals = await find_journals(settings, kinds)
    topics = {journal.place.topic for journal in journals} | {names.snapshots(kind) for kind in kinds}
    async with connected(settings, sorted(topics)) as client:
        events = upcast = 0
        failures: list[Failure] = []
        outdated: dict[Journal, set[bytes]] = {}
        for journal in journals:
            read, older = await _read(client, journal, failures)
            events, upcast = events + read, upcast + older
            outdated[journal] = await _outdated(client, journal, names.snapshots(journal.place.kind))
        count = sum(map(len, outdated.values()))
        if dry_run or failures or not count:
            return Migration(events, upcast, failures, count, 0)
        rewritten = 0
        for journal, keys in outdated.items():
            if keys:
                snapshots = await _snapshots(client, journal, keys)
                await _write(settings, names.snapshots(journal.place.kind), journal.place.partition, snapshots)
                rewritten += len(snapshots)
        return Migration(events, upcast, failures, count, rewritten)


async def _read(client: AIOKafkaClient, journal: Journal, failures: list[Failure]) -> tuple[int, int]:
    """How many events there are, and how many in a former version."""
    decider = deciders()[journal.place.kind]
    newest = {name: spec.schema_version for name, spec in decider.events.items()}
    events = older = 0
    async for event, cid in events_of(client, journal):
        events += 1
        try:
            decider.read_event(event["type"], event["schema_version"], event["data"])
        except UnknownEventError as error:
            failures.append(Failure(cid_text(cid), decider.kind, event["aggregate_id"], event["version"], str(error)))
        else:
            older += event["schema_version"] < newest[event["type"]]
    return events, older


async def _outdated(client: AIOKafkaClient, journal: Journal, topic: str) -> set[bytes]:
    """The keys whose newest snapshot this release cannot use."""
    where = (topic, journal.place.partition)
    state_version = deciders()[journal.place.kind].state_version
    start, end = (await bounds(client, [where]))[where]
    found: set[bytes] = set()
    async for records in read_range(client, where, start, end):
        for _, key, value, _ in records:
            if key is not None:
                is_current = value is None or _state_version(value) == state_version
                (found.discard if is_current else found.add)(key)
    return found


def _state_version(value: bytes) -> int | None:
    try:
        return decode_snapshot(value).state_version
    except SnapshotError:
        return None


async def _snapshots(client: AIOKafkaClient, journal: Journal, keys: set[bytes]) -> dict[bytes, bytes]:
    """A snapshot of each aggregate at its head; none of one that has no events that count."""
    place = journal.place
    decider = deciders()[place.kind]
    store = MemoryStore()
    fold = Fold(decider, WorkingSet(decider, store, AggregateCache(HOT_BYTES)), place.partition, place.partitions)
    async for records in read_range(client, (place.topic, place.partition), journal.start, journal.end):
        fold.apply([JournalRecord(offset, key, value) for offset, key, value, _ in records])
    made = {}
    for key in keys:
        at = store.aggregate(key)
        if at is not None:
            snapshot = Snapshot(place.kind, key.decode(), at.version, at.head, decider.state_version, at.state)
            made[key] = encode_snapshot(snapshot)
    return made


async def _write(settings: Settings, topic: str, partition: int, snapshots: dict[bytes, bytes]) -> None:
    options: dict[str, Any] = client_options(settings)
    async with AIOKafkaProducer(**options, enable_idempotence=True, max_request_size=SNAPSHOT_TOPIC_BYTES) as producer:
        sent = [await producer.send(topic, value, key=key, partition=partition) for key, value in snapshots.items()]
        await asyncio.gather(*sent)  # flush() says nothing of what the broker refused
