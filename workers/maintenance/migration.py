"""Every stored event through the upcasters, and snapshots of former state versions made anew. Events are never touched.

Stores need nothing: a worker whose state version is another folds its own anew.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.structs import TopicPartition

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.journal_reader import kept_key, shown_key
from annals.schemas.snapshot import Snapshot, SnapshotError, decode_snapshot, encode_snapshot
from annals.topics.names import TopicNames
from annals.workers.audit.journals import find_journals
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.maintenance.snapshots import is_too_large, put_newest
from annals.workers.maintenance.walk import connected, events_of
from annals.workers.registry import deciders
from annals.workers.settings import client_options
from annals.workers.stores.rocks import StoreBudget, identity_of, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.audit.journals import Journal
    from annals.workers.settings import Settings
    from annals.workers.stores.rocks import RocksStore

HOT_BYTES: Final = 64 << 20
CACHE_BYTES: Final = 32 << 20
PIECE_BYTES: Final = 64 << 20
MOST_LISTED: Final = 10_000
LONGEST_REASON: Final = 500


class Failure(NamedTuple):
    """A stored event that this release cannot read."""

    cid: str
    kind: str
    aggregate_id: str
    version: int
    reason: str


class Migration(NamedTuple):
    """What was found, and done: events read, those of former versions, failures, snapshots that were out of date.

    too_large: the aggregates, as `kind id`, whose snapshot was left out since its topic would not take it; more: how
    many events that cannot be read are not listed.
    """

    events: int
    upcast: int
    failures: list[Failure]
    outdated: int
    rewritten: int
    too_large: list[str]
    more: int = 0


class Outdated(NamedTuple):
    """The keys of a partition whose newest snapshot is out of date, and where its snapshots ended when that was so."""

    keys: set[bytes]
    end: int


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
        failures = _Failures()
        outdated: dict[Journal, Outdated] = {}
        for journal in journals:
            read, older = await _read(client, journal, failures)
            events, upcast = events + read, upcast + older
            outdated[journal] = await _outdated(client, journal, names.snapshots(journal.place.kind))
        count = sum(len(each.keys) for each in outdated.values())
        rewritten, too_large = 0, []
        if not dry_run and not failures.listed:
            for journal, (keys, end) in outdated.items():
                where = TopicPartition(names.snapshots(journal.place.kind), journal.place.partition)
                async for made in _snapshots(client, journal, keys):
                    large = {key for key, value in made.items() if is_too_large(key, value)}
                    too_large += [f"{journal.place.kind} {key.decode()}" for key in sorted(large)]
                    fit = {key: value for key, value in made.items() if key not in large}
                    await put_newest(client, client_options(settings), where, end, fit)
                    rewritten += len(fit)
        return Migration(events, upcast, failures.listed, count, rewritten, too_large, failures.more)


class _Failures:
    """Those that are listed, and how many more there are."""

    def __init__(self) -> None:
        self.listed: list[Failure] = []
        self.more = 0

    def add(self, event: Mapping[str, Any], cid: bytes, error: UnknownEventError) -> None:
        if len(self.listed) >= MOST_LISTED:
            self.more += 1
            return
        shown, reason = shown_key(kept_key(event["aggregate_id"].encode())), str(error)[:LONGEST_REASON]
        self.listed.append(Failure(cid_text(cid), event["kind"], shown, event["version"], reason))


async def _read(client: AIOKafkaClient, journal: Journal, failures: _Failures) -> tuple[int, int]:
    """How many events there are, and how many in a former version."""
    decider = deciders()[journal.place.kind]
    newest = {name: spec.schema_version for name, spec in decider.events.items()}
    events = older = 0
    async for event, cid in events_of(client, journal):
        events += 1
        try:
            decider.read_event(event["type"], event["schema_version"], event["data"])
        except UnknownEventError as error:
            failures.add(event, cid, error)
        else:
            older += event["schema_version"] < newest[event["type"]]
    return events, older


async def _outdated(client: AIOKafkaClient, journal: Journal, topic: str) -> Outdated:
    """The keys whose newest snapshot this release cannot use."""
    where = TopicPartition(topic, journal.place.partition)
    start, end = (await bounds(client, [where]))[where]
    found: set[bytes] = set()
    async for records in read_range(client, where, start, end, is_compacted=True):
        for _, key, value, _ in records:
            if key is not None and kept_key(key) is key:  # a longer one is no aggregate id
                is_current = value is None or _usable(value, journal.place.kind) is not None
                (found.discard if is_current else found.add)(key)
    return Outdated(found, end)


def _usable(value: bytes | None, kind: str) -> Snapshot | None:
    """The snapshot, if this release can restore the state from it."""
    try:
        snapshot = decode_snapshot(value or b"")
    except SnapshotError:
        return None
    is_current = snapshot.state_version == deciders()[kind].state_version
    return snapshot if is_current and snapshot.is_whole else None


async def _snapshots(client: AIOKafkaClient, journal: Journal, keys: set[bytes]) -> AsyncIterator[dict[bytes, bytes]]:
    """Yield a snapshot of each aggregate at its head, in pieces; none of one that has no events that count.

    They are folded on disk, as a shard's are: a partition may have any number of them.
    """
    if not keys:
        return
    place = journal.place
    identity = identity_of(place.kind, place.partition, place.partitions, 0, place.topic)
    with TemporaryDirectory(prefix="annals-migrate-") as folder:
        store = await open_store(Path(folder), identity, StoreBudget(CACHE_BYTES, CACHE_BYTES), "lz4")
        try:
            offsets = await _folded(client, journal, keys, store)
            made: dict[bytes, bytes] = {}
            size = 0
            for key, offset in offsets.items():
                made[key] = snapshot = _snapshot(place.kind, key, store, offset)
                size += len(key) + len(snapshot)
                if size > PIECE_BYTES:
                    yield made
                    made, size = {}, 0
            if made:
                yield made
        finally:
            store.close()


async def _folded(client: AIOKafkaClient, journal: Journal, keys: set[bytes], store: RocksStore) -> dict[bytes, int]:
    """Fold a journal into a store, and return the offset of the last event of each of these aggregates."""
    place = journal.place
    decider = deciders()[place.kind]
    fold = Fold(decider, WorkingSet(decider, store, AggregateCache(HOT_BYTES)), place.partition, place.partitions)
    offsets: dict[bytes, int] = {}
    async for records in read_range(client, TopicPartition(place.topic, place.partition), journal.start, journal.end):
        fold.apply([JournalRecord(offset, key, value) for offset, key, value, _ in records])
        heads = {key: at.head for _, key, _, _ in records if key in keys and (at := store.aggregate(key)) is not None}
        offsets |= {
            key: offset
            for offset, key, value, _ in records
            if key in heads and value is not None and cid_of(value) == heads[key]
        }
    return offsets


def _snapshot(kind: str, key: bytes, store: RocksStore, offset: int) -> bytes:
    at = store.aggregate(key)
    assert at is not None  # noqa: S101 - it has an offset
    state_version = deciders()[kind].state_version
    return encode_snapshot(
        Snapshot(kind, key.decode(), at.version, at.head, state_version, at.state, at.recorded_at, offset)
    )
