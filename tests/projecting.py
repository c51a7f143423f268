"""Journals of all kinds in memory, folded by reading folds, for tests of projections."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.ports import JournalRecord
from annals.agents.projections import REGISTRY
from annals.agents.reading.following.answers import Answers
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.found import ShardStatus
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.keeping.states import States
from annals.agents.reading.ports import Member, NotReadyError
from annals.agents.reading.projecting.versions import followed, newest
from annals.agents.reading.queries.events import Place
from annals.agents.reading.queries.rows import RowReader
from annals.agents.reading.read_models.global_reader import GlobalReader
from annals.agents.reading.read_models.row_answers import RowAnswers
from annals.schemas.chain import seal
from annals.schemas.kinds import person
from annals.schemas.projection_record import decode_record, encode_record
from annals.topics.keys import partition_of
from annals.workers.projections.offline import fold_from_kafka
from annals.workers.stores.reading_memory import MemoryReadingStore
from following import Clock, Damages, run_meanwhile, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from annals.agents.projections.projection import Projection
    from annals.agents.reading.ports import ReadView
    from annals.schemas.messages import Message
    from annals.workers.settings import Settings

PARTITIONS = 3
VERSIONS = {name: (projection,) for name, projection in REGISTRY.items()}


class Journals:
    """The journal partitions of all kinds (the `Journals` port, for `kinds`)."""

    def __init__(self, kinds: Sequence[str] = ("location",)) -> None:
        self.kinds = kinds
        self.records_of: dict[tuple[str, int], list[JournalRecord]] = {
            (kind, partition): [] for kind in DECIDERS for partition in range(PARTITIONS)
        }
        self._ends: dict[tuple[str, str], tuple[int, bytes | None]] = {}

    def append(self, kind: str, aggregate_id: str, *messages: Message, at: str = "2026-01-01T00:00:00.000000Z") -> None:
        """Record events of an aggregate."""
        decider = DECIDERS[kind]
        partition = self.records_of[kind, partition_of(aggregate_id.encode(), PARTITIONS)]
        for message in messages:
            version, head = self._ends.get((kind, aggregate_id), (0, None))
            name, number, data = (
                decider.event_name(message),
                decider.schema_version(message),
                msgspec.to_builtins(message),
            )
            block, cid = seal(
                kind=kind,
                aggregate_id=aggregate_id,
                version=version + 1,
                previous=head,
                type=name,
                schema_version=number,
                recorded_at=at,
                command_id=f"c-{version}",
                correlation_id="k",
                causation_id=None,
                actor=None,
                data=data,
            )
            self._ends[kind, aggregate_id] = version + 1, cid
            partition.append(JournalRecord(len(partition), aggregate_id.encode(), block))

    async def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {where: (0, len(each)) for where, each in self.records_of.items() if where[0] in self.kinds}

    async def record_at(self, where: tuple[str, int], offset: int, cid: bytes = b"") -> JournalRecord | None:
        return self.records_of[where][offset] if offset < len(self.records_of[where]) else None

    async def records(self, where: tuple[str, int], start: int, end: int) -> AsyncIterator[Sequence[JournalRecord]]:
        yield self.records_of[where][start:end]


class MemoryShard(Answers):
    """A partition that was read up to its end."""

    def __init__(
        self,
        kind: str,
        partition: int,
        projections: Mapping[str, Sequence[Projection[Any]]] = VERSIONS,
        store: MemoryReadingStore | None = None,
        records: Mapping[str, Any] | None = None,
        now_ms: int = 0,
    ) -> None:
        states = States(DECIDERS[kind])
        super().__init__(Place(kind, partition), states, RowReader(newest(projections)), Clock())
        self.store = store or MemoryReadingStore()
        plan = followed(kind, projections, records, DECIDERS, (), now_ms)
        self._remembering = RowMemory(self.store)
        self.fold = ReadingFold(kind, partition, PARTITIONS, self._remembering, [states, *plan.followers])

    def read(self, journals: Journals, cuts: Sequence[int] = ()) -> None:
        records = journals.records_of[self.kind, self.partition]
        ends = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
        for first, last in pairwise(ends):
            self.fold.apply(records[first:last])
        while self.fold.catch_up():
            pass

    def followers(self) -> list[str]:
        return self.fold.known()

    def follow(self, followers: Sequence[Any], dropped: Sequence[str] = ()) -> None:
        self.fold.follow([self._states, *followers], dropped)

    def rebuild(self, follower: str, aggregate_id: str, number: int) -> None:
        self.fold.refold(follower, aggregate_id, number)

    def resume(self, follower: str) -> None:
        self.fold.resume(follower)

    def status(self) -> ShardStatus:
        offset = self._offset()
        return ShardStatus(
            self.kind, self.partition, "reading", "", offset, offset, reached=True, lag_s=0, stale=dict(self.fold.stale)
        )

    def _offset(self) -> int:
        return self.fold.position.offset

    async def until_offset(self, offset: int, deadline: float) -> bool:
        return self._offset() >= offset

    def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        self._remembering.apply(rows)

    async def until_version(self, aggregate_id: str, version: int, deadline: float) -> bool:
        return await self.offset_of(aggregate_id, version) is not None

    async def _ask(self, question: Callable[[ReadView], Any], *, in_thread: bool = True) -> Any:
        with self.store.view() as view:
            return question(view)


class MemoryShards:
    """The shards of all kinds (the `Shards` port)."""

    def __init__(
        self,
        journals: Journals,
        projections: Mapping[str, Sequence[Projection[Any]]] = VERSIONS,
        kinds: Iterable[str] = DECIDERS,
    ) -> None:
        self.kinds = tuple(kinds)
        self.here = {where: MemoryShard(*where, projections) for where in journals.records_of if where[0] in self.kinds}
        for shard in self.here.values():
            shard.read(journals)

    def of(self, kind: str, aggregate_id: str) -> MemoryShard:
        return self.here[kind, partition_of(aggregate_id.encode(), PARTITIONS)]

    def of_kinds(self, kinds: Iterable[str]) -> list[Any]:
        wheres = [(kind, partition) for kind in kinds for partition in range(PARTITIONS)]
        return [self.here.get(where) or Away(*where) for where in wheres]


class Away:
    """A shard that nobody has."""

    def __init__(self, kind: str, partition: int) -> None:
        self.kind, self.partition = kind, partition

    async def rows(self, *question: Any, **rest: Any) -> Any:
        raise NotReadyError("nobody has it")


class GlobalStores:
    """One store in memory (the `ReadingStores` port)."""

    def __init__(self) -> None:
        self.store = MemoryReadingStore()
        self.renewed = 0

    async def open(self) -> RowMemory:
        return RowMemory(self.store)

    async def renew(self, store: Any) -> RowMemory:
        self.renewed += 1
        self.store = MemoryReadingStore()
        return await self.open()

    async def set_aside(self, damage: Any) -> None:
        self.store = MemoryReadingStore()

    async def close(self, store: Any) -> None:
        pass


class ScratchStores:
    """Stores in memory (the `ScratchStores` port)."""

    def __init__(self) -> None:
        self.open: list[Any] = []

    async def open_beside(self) -> MemoryReadingStore:
        store = MemoryReadingStore()
        self.open.append(store)
        return store

    async def discard(self, store: Any) -> None:
        self.open.remove(store)


def global_reader(
    journals: Journals, stores: GlobalStores, projections: Any = VERSIONS, records: Any = None
) -> GlobalReader:
    partitions = dict.fromkeys(journals.kinds, PARTITIONS)
    return GlobalReader(
        projections, partitions, DECIDERS, lambda: records or {}, stores, journals, Clock(), Damages()
    )  # fmt: skip


@asynccontextmanager
async def read_to_the_ends(reader: GlobalReader, journals: Journals) -> AsyncIterator[None]:
    """Run a reader that has read all that there is."""
    ends = {where: len(each) for where, each in journals.records_of.items() if where[0] in journals.kinds}
    async with run_meanwhile(reader):
        await until(lambda: all(reader.positions.read_until.get(where) == end for where, end in ends.items()))
        yield


def row_answers(shards: MemoryShards, reader: GlobalReader) -> RowAnswers:
    sources = {"local": LocalRows(shards), "global": reader}
    return RowAnswers(VERSIONS, sources, lambda name: VERSIONS[name][-1].version, Clock())


ONE = REGISTRY["people_directory"]


def fold_shouting(event, rows):
    ONE.fold(event, rows)
    row = rows.get(event.aggregate_id)
    if row is not None:
        rows.put(msgspec.structs.replace(row, name=row.name.upper()), event.aggregate_id)


TWO = replace(ONE, version=2, fold=fold_shouting)
OLD, BOTH, NEW = {"people_directory": (ONE,)}, {"people_directory": (ONE, TWO)}, {"people_directory": (TWO,)}


def people(*names):
    """Journals with one person each of these ids, whose name in the rows of `ONE` is Ada and the id."""
    journals = Journals()
    for name in names:
        journals.append("person", name, person.PersonRegistered(name=f"Ada {name}"))
    return journals


async def names_of(shards, version):
    """The names in the directory by a version, and the reasons for which partitions are missing."""
    page = await LocalRows(shards).rows(TWO, version, {}, None, 100)
    return [each.row["name"] for each in page.rows], {each.reason for each in page.missing}


def member(name, version):
    return Member(name, None, {}, {"people_directory": version})


class Group:
    """The group as one member sees it (the `Members` port)."""

    def __init__(self, *members):
        self.members = list(members)

    @property
    def me(self):
        return self.members[0] if self.members else None

    def all(self):
        return self.members

    def owner(self, kind, partition):
        return None


class Topic:
    """The topic in memory (the `Records` port)."""

    def __init__(self):
        self.records, self.revision, self.is_read = {}, 0, True

    async def change(self, name, change):
        changed = change(self.records.get(name))
        if changed is None or changed == self.records.get(name):
            return None
        self.records[name] = decode_record(name.encode(), encode_record(changed))
        self.revision += 1
        return changed


class Here:
    """Shards in memory as a process has them (the `Here` port)."""

    def __init__(self, shards):
        self.shards = [each for each in shards.here.values() if each.kind == "person"]

    def all(self):
        return self.shards

    def partitions(self, kind):
        return PARTITIONS


async def rows_from_kafka(
    settings: Settings, asked: Sequence[Projection[Any]], until: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Fold the rows of projections from the journal, without any worker. until: what was recorded later is left out."""
    found: dict[str, list[dict[str, Any]]] = {}

    def take(projection: Projection[Any], batches: Iterator[list[dict[str, Any]]]) -> None:
        found[projection.name] = [row for some in batches for row in some]

    await fold_from_kafka(settings, asked, take, until)
    return found
