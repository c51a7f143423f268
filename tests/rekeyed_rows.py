"""A projection that is re-keyed on a cluster in memory: two journal partitions, a stream of two, and their shards."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition
from msgspec.structs import replace

from annals.agents.aggregates import REGISTRY
from annals.agents.projections.projection import Projection, Row
from annals.agents.reacting.foreign import ForeignJournal
from annals.agents.reacting.reactor import Reactor
from annals.agents.reacting.rekeyed import AlwaysActive
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.projecting.versions import followed, newest
from annals.agents.reading.queries.rows import RowReader
from annals.agents.reading.streams.rekeyed import RekeyedStream
from annals.agents.reading.streams.rekeyed_shard import RekeyedShard
from annals.schemas.chain import read_block
from annals.schemas.kinds.person import PersonRenamed
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.ranges import read_range
from annals.workers.reacting.rekeyed import KafkaRekeyingLog, carried_in_stream
from annals.workers.reading.restore_point import KafkaRangedJournal
from following import Damages, run_meanwhile
from projecting import Away
from publishing import NAMES
from reading_stores import Stores
from rekeying import EVENTS, PARTITIONS, STREAM, RekeyedWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.projections.projection import Happened, ProjectionRows
    from annals.agents.reading.found import FoundRow
    from annals.agents.reading.gathering.rows import GatheredRows
    from annals.workers.kafka.read.invalid_records import InvalidRecords

PLACE = "rekeyed.gathering"


class Gathered(Row, kw_only=True):
    """Which events have a key, as `<aggregate>@<version>`, in the order of their arrival."""

    seen: list[str] = []


def gather_rows(event: Happened, rows: ProjectionRows[Gathered]) -> None:
    """Add an event to its key's row."""
    old = rows.get(event.key) or Gathered(kind=event.kind, aggregate_id=event.key)
    rows.put(replace(old, seen=[*old.seen, f"{event.aggregate_id}@{event.version}"]), event.key)


def counts_of(row: Gathered) -> dict[str, list[str]]:
    """How many there are."""
    return {"count": [str(len(row.seen))]}


GATHERED = Projection(
    name="gathering",
    version=1,
    wanted={"person": frozenset({PersonRenamed})},
    row=Gathered,
    parameters=("count",),
    indexes=counts_of,
    fold=gather_rows,
    key="correlation_id",
    rekeyed=True,
)


class Unmeasured:
    """Counts nothing (the `StreamTelemetry` port)."""

    def standing(self, lag: int) -> None:
        """Its status says so."""

    def closed(self) -> None:
        """Nothing is kept."""


class Stream(KafkaRangedJournal):
    """A partition of the stream (the `StreamPartition` port), whose topic has the id that a test gives it."""

    def __init__(self, world: RowsWorld, client: AIOKafkaClient, partition: int) -> None:
        super().__init__(client, STREAM, partition, carried_in_stream)
        self._world = world

    async def topic_id(self) -> bytes | None:
        return self._world.topic_id


class RowsWorld(RekeyedWorld):
    """Journals, the stream and its stores, which outlive the processes that open them."""

    def __init__(self, *versions: Projection[Any]) -> None:
        super().__init__()
        self.versions = versions or (GATHERED,)
        self.topic_id: bytes | None = bytes(15) + b"\1"
        self.stores_of = {at: Stores() for at in range(PARTITIONS)}
        self.records: Mapping[str, Any] = {}

    @asynccontextmanager
    async def process_of_rows(
        self,
        journals: Sequence[int] = (0, 1),
        stream: Sequence[int] = (0, 1),
        versions: Sequence[Projection[Any]] = (),
        invalid: InvalidRecords = PASSED_OVER,
    ) -> AsyncIterator[Process]:
        """A process that has these partitions: what copies the journal's, and what folds the stream's."""
        known = {GATHERED.name: tuple(versions or self.versions)}
        client = await connect(self.options(self.network), [])  # what reads dies with what writes
        copiers = {at: self._copier(known, client, at, self.options(self.network)) for at in journals}
        shards = {at: self._shard(known, client, at, invalid) for at in stream}
        async with AsyncExitStack() as stack:
            for each in (*copiers.values(), *shards.values()):
                await stack.enter_async_context(run_meanwhile(each))
            yield Process(known, copiers, shards)

    def _copier(self, known: Any, client: AIOKafkaClient, at: int, options: Any) -> Reactor:
        journal = KafkaRangedJournal(client, EVENTS, at)
        source = ForeignJournal("here", "person", at, PARTITIONS, journal, self.clock, self.counted)
        stream = known[GATHERED.name][-1].stream
        log = partial(KafkaRekeyingLog, options, NAMES, stream, at, PARTITIONS, "annals")
        return Reactor(stream, REGISTRY["person"], source, journal, log, AlwaysActive(), self.clock, self.counted)

    def _shard(self, known: Any, client: AIOKafkaClient, at: int, invalid: Any) -> RekeyedShard:
        stream, journal = known[GATHERED.name][-1].stream, Stream(self, client, at)
        note = partial(invalid.note, TopicPartition(STREAM, at))
        return RekeyedShard(
            stream,
            REGISTRY["person"],
            at,
            lambda: RekeyedStream(stream, STREAM, at, PARTITIONS, journal, self.clock, note),
            journal,
            self.stores_of[at],
            self.clock,
            Damages(),
            Unmeasured(),
            lambda: followed(PLACE, known, self.records, REGISTRY, (), 0).followers,
            RowReader(newest(known)),
        )

    async def by_key(self) -> dict[str, list[str]]:
        """Which events have each key, by a fold of the journals that knows nothing of the stream."""
        client = await connect(self.options(), [EVENTS])
        found: dict[str, list[str]] = {}
        for at in range(PARTITIONS):
            async for records in read_range(client, TopicPartition(EVENTS, at), 0, self.model.logs[EVENTS, at].stable):
                for _, _, value, _ in records:
                    event = read_block("person", value or b"")
                    said = f"{event['aggregate_id']}@{event['version']}"
                    found.setdefault(event["correlation_id"] or "", []).append(said)
        return {key: sorted(seen) for key, seen in found.items()}


class Process:
    """What runs in it, and what all of its shards together answer (the `Shards` port)."""

    def __init__(self, known: Any, copiers: dict[int, Reactor], shards: dict[int, RekeyedShard]) -> None:
        self.known = known
        self.copiers = copiers
        self.shards = shards

    def of_kinds(self, kinds: Iterable[str]) -> list[Any]:
        return [self.shards.get(at) or Away(PLACE, at) for kind in kinds for at in range(PARTITIONS) if kind == PLACE]

    async def page(self, version: int = 0, **index: str) -> GatheredRows:
        """Rows of the newest version, or of another one."""
        projection = self.known[GATHERED.name][-1]
        return await LocalRows(self).rows(projection, version or projection.version, index, None, 100)

    async def rows(self, version: int = 0) -> dict[str, list[str]]:
        """What each key's row has seen."""
        return seen_in((await self.page(version)).rows)


def seen_in(rows: Iterable[FoundRow]) -> dict[str, list[str]]:
    """What each key's row has seen."""
    return {each.row["aggregate_id"]: each.row["seen"] for each in rows}
