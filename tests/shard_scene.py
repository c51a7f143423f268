"""A shard over Kafka's log in memory, watched: what it writes, what it asks, and faults at its commits."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.working_set import AggregateCache
from annals.agents.ports import CopyRecord, Ends, JournalRecord, OutcomeRecord
from annals.agents.writing.batches.batch import Limits
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.shards.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.shards.shard import Phase, Shard
from annals.schemas.chain import seal
from annals.testing import MemoryClock, MemoryCluster, MemoryCommandSource, MemoryStores, MemoryTelemetry
from annals.topics.group_metadata import GroupMetadata, decode_metadata
from annals.topics.headers import outcome_headers
from annals.topics.names import TopicNames
from annals.topics.wire import encode_headers
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from annals.agents.ports import Delivery

PERSON: Final = REGISTRY["person"]
NOW: Final = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
TOPIC: Final = "commands.person"
GROUP: Final = "group"
LIMITS: Final = dict.fromkeys(("commands", "events", "outcomes", "snapshots", "dead-letters"), 8 << 20)
WITHIN_S: Final = 60


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Any, ...] = ()
    timestamp: int = 0


class Stranger:
    """Somebody else's transactions: one leaves a marker behind, an open one holds up what comes after it."""

    _ids = itertools.count()

    def __init__(self, model: MemoryCluster, where: tuple[str, int]) -> None:
        self._model = model
        self._where = where
        self._id = f"stranger-{next(self._ids)}"
        self._identity = model.init_producer_id(self._id, 60_000)[1]
        assert not model.add_partition(self._id, self._identity, where)

    def write(self, count: int = 1) -> Stranger:
        batch = RecordBatch()
        batch.fill([(b"stranger", b"open", 0, b"\0")] * count, 0, 1 << 20)
        code, _ = self._model.produce(self._id, self._where, batch.build(*self._identity, 0), adds=False)
        assert not code
        return self

    def end(self) -> None:
        code, _ = self._model.end_transaction(self._id, self._identity, commits=False, renews=False)
        assert not code


class WatchedLog:
    """The shard's log, its calls noted.

    failures: raised by the next commits, before or after they are carried out; throttled: what the brokers ask for.
    """

    def __init__(self, partitions: int) -> None:
        self.names = TopicNames()
        topics = ShardTopics(kind="person", partition=0, names=self.names, limits=LIMITS, dead_partitions=1)
        self.model = MemoryCluster({name: Topic(partitions) for name in topics.all()}, now=NOW.timestamp)
        self._log = KafkaShardLog({CLUSTER: Cluster(self.model)}, topics, "shard", GROUP, "none")
        self._topics = topics
        self.calls: list[str] = []
        self.failures: list[tuple[str, Exception | None]] = []
        self.throttled: list[float] = []
        self._strangers: set[tuple[tuple[str, int], int]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def fence(self) -> None:
        self.calls.append("fence")
        await self._log.fence()

    async def look(self) -> Any:
        self.calls.append("look")
        return await self._log.look()

    async def read(self, start: int, end: int) -> AsyncIterator[list[JournalRecord]]:
        self.calls.append("read")
        async for records in self._log.read(start, end):
            yield records

    async def copies(self, tell: Callable[[str], None]) -> AsyncIterator[list[CopyRecord]]:
        self.calls.append("copies")
        async for copies in self._log.copies(tell):
            yield copies

    async def commit(self, *args: Any) -> GroupMetadata:
        self.calls.append("commit")
        when, failure = self.failures.pop(0) if self.failures else ("", None)
        if when == "before" and failure is not None:
            raise failure
        metadata = await self._log.commit(*args)
        if when == "after" and failure is not None:
            raise failure
        return metadata

    def throttled_s(self) -> float:
        return self.throttled.pop(0) if self.throttled else 0.0

    # What stands in the topics.

    @property
    def end(self) -> int:
        return self.model.logs[self._topics.events].end

    @property
    def journal(self) -> list[JournalRecord]:
        return [JournalRecord(*record[:3]) for record in self.records(self._topics.events)]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """What the shard has answered."""
        return [orjson.loads(record.value or b"") for record in self._ours(self._topics.outcomes)]

    @property
    def last_outcome(self) -> bytes | None:
        return self._ours(self._topics.outcomes)[-1].value

    @property
    def forwards(self) -> list[bytes | None]:
        """What the shard has forwarded to the other partition."""
        return [record.value for record in self._ours((TOPIC, 1))]

    @property
    def dead_lettered(self) -> list[bytes | None]:
        return [record.value for record in self._ours(self._topics.dead)]

    @property
    def committed(self) -> int | None:
        found = self.model.committed_offset(GROUP, self._topics.commands)
        return found[0] if found else None

    @property
    def metadata(self) -> GroupMetadata:
        found = self.model.committed_offset(GROUP, self._topics.commands)
        return decode_metadata(found[1] if found else "")

    def records(self, where: tuple[str, int]) -> list[Any]:
        log = self.model.logs[where]
        return log.committed(log.start, log.end + 1)[0]

    def _ours(self, where: tuple[str, int]) -> list[Any]:
        return [record for record in self.records(where) if (where, record.offset) not in self._strangers]

    # What others do to them.

    def write(self, where: tuple[str, int], key: bytes | None, value: bytes | None, headers: Any = ()) -> int:
        offset = self.model.append(where, key, value, encode_headers(headers))
        self._strangers.add((where, offset))
        return offset

    def append(
        self,
        *,
        aggregate_id: str = "p-1",
        version: int = 1,
        previous: bytes | None = None,
        name: str = "Ada",
        command_id: str = "c",
        type_: str = "PersonRegistered",
        key: bytes | None = None,
    ) -> bytes:
        """Write an event into the journal, and return its CID. key: another one than the aggregate's id."""
        block, cid = seal(
            kind="person", aggregate_id=aggregate_id, version=version, previous=previous, type=type_, schema_version=1,
            recorded_at="2026-11-21T09:30:00.000000Z", command_id=command_id, correlation_id=command_id,
            causation_id=None, actor=None, data={"name": name},
        )  # fmt: skip
        self.write(self._topics.events, aggregate_id.encode() if key is None else key, block)
        return cid

    def restore(self, journal: Iterable[JournalRecord]) -> None:
        """Write records of another journal, without the markers between them."""
        for record in journal:
            self.write(self._topics.events, record.key, record.value)

    def answer(self, *outcomes: OutcomeRecord) -> None:
        """Write outcomes that are none of this shard's."""
        for outcome in outcomes:
            headers = outcome_headers(_id_in(outcome.value), outcome.command_offset, outcome.journal_end)
            self.write(self._topics.outcomes, outcome.key, outcome.value, headers)

    def copy(self, *copies: CopyRecord) -> None:
        """Write copies of commands into other partitions."""
        for copy in copies:
            origin = [("origin-partition", b"0"), ("origin-offset", b"%d" % copy.offset)]
            self.write((TOPIC, copy.partition), copy.key, copy.value, [*copy.headers, *origin])

    def bury(self, *letters: tuple[int, bytes | None, bytes | None]) -> None:
        """Write dead letters of this partition's commands."""
        for offset, key, value in letters:
            source = {"source-topic": TOPIC, "source-partition": "0", "source-offset": str(offset)}
            headers = [(name, text.encode()) for name, text in source.items()]
            self.write(self._topics.dead, key, value, headers)

    def remember(self, offset: int, metadata: GroupMetadata | None = None) -> None:
        """Commit an offset of the group, with our metadata or without."""
        text = metadata.encode() if metadata is not None else ""
        self.model.groups[GROUP].committed[self._topics.commands] = (offset, text)

    def lift(self, role: str, end: int) -> None:
        """Have a partition end at an offset, by the markers of transactions that are aborted."""
        where = self._where(role)
        while self.model.logs[where].end < end:
            Stranger(self.model, where).end()
        assert self.model.logs[where].end == end

    def expire(self, role: str, before: int) -> None:
        assert not self.model.delete_records(self._where(role), before)

    def cut(self, role: str, end: int) -> None:
        """Lose a partition's end, as by an unclean election."""
        self.model.logs[self._where(role)].truncate(end)

    def hold_up(self, role: str, partition: int = 0, count: int = 1) -> Stranger:
        """Begin a transaction that is somebody else's, and write records in it."""
        return Stranger(self.model, (self._where(role)[0], partition)).write(count)

    def _where(self, role: str) -> tuple[str, int]:
        where: tuple[str, int] = getattr(self._topics, role)
        return where


def _id_in(value: bytes | None) -> str:
    try:
        found: str = orjson.loads(value or b"")["command_id"]
    except ValueError:
        return ""
    return found


class WatchedSource(MemoryCommandSource):
    """begins: the offsets from which the shard asked for commands."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.begins: list[int] = []

    def deliver_from(self, offset: int) -> None:
        self.begins.append(offset)
        super().deliver_from(offset)


class Scene:
    """A shard of persons that is not running yet, and all that is around it.

    log: that of a shard before; delivers_until: commands from this offset on are there, and do not reach the shard.
    """

    def __init__(
        self,
        *,
        partitions: int = 1,
        concurrency_limit: ConcurrencyLimit | None = None,
        log: WatchedLog | None = None,
        delivers_until: int | None = None,
        **more: Any,
    ) -> None:
        self.log = log or WatchedLog(partitions)
        self._delivers_until = delivers_until
        self.stores = MemoryStores()
        self.clock = MemoryClock(NOW)
        self.told = MemoryTelemetry()
        self.source = WatchedSource(self.log.model.logs[TOPIC, 0], TOPIC, 0, self._offer)
        self.shard = Shard(
            PERSON,
            ShardId("person", TOPIC, 0, partitions),
            Limits(1_000_000, 4 << 20, 0, 0),
            self.log,  # type: ignore[arg-type] # what it has not it takes from the log
            self.stores,
            self.source,
            self.clock,
            self.told,
            aggregate_cache=AggregateCache(1 << 20),
            folding=asyncio.Semaphore(1),
            concurrency_limit=concurrency_limit or ConcurrencyLimit(),
            **more,
        )

    @property
    def commands(self) -> list[Any]:
        return self.log.records((TOPIC, 0))

    def command(
        self, name: str, command_id: str | None = None, type_: str = "RegisterPerson", aggregate_id: str = "p-1"
    ) -> None:
        """Send a command; without an id it is called after its offset."""
        offset = self.log.model.logs[TOPIC, 0].end
        members = {"id": command_id or f"c-{offset}", "type": type_, "aggregate_id": aggregate_id}
        self.record(orjson.dumps({**members, "data": {"name": name}}), aggregate_id.encode())

    def record(self, value: bytes, key: bytes = b"p-1") -> None:
        """Send what may be no command, and have it fetched if somebody fetches."""
        self.log.model.append((TOPIC, 0), key, value)
        if self.source.generation:
            self.source.fetch()

    def ends(self) -> Ends:
        """Where the partitions end, as brokers answer."""
        logs = self.log.model.logs
        journal, outcomes, commands = (logs[self.log._where(role)] for role in ("events", "outcomes", "commands"))
        return Ends(journal.start, journal.end, outcomes.end, commands.end)

    async def answered(self, count: int) -> list[str]:
        """Wait for so many answers, and return what became of each command."""
        await self.until_it(lambda: len(self.log.outcomes) >= count)
        return [outcome["status"] for outcome in self.log.outcomes]

    async def until(self, phase: Phase) -> None:
        await self.until_it(lambda: self.shard.phase is phase)

    async def until_it(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():  # noqa: ASYNC110 - a turn of the loop, not a wait
                await asyncio.sleep(0)

    def _offer(self, delivery: Delivery) -> None:
        until = self._delivers_until
        records = [record for record in delivery.records if until is None or record.offset < until]
        if records or not delivery.records:
            self.shard.offer(delivery._replace(records=records))


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[None]:
    task = asyncio.create_task(scene.shard.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await scene.shard.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for the outside world are as short as they can be: nothing is outside."""
    monkeypatch.setattr("annals.agents.writing.shards.shard.FIRST_RETRY_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.shards.shard.LAST_RETRY_S", 0.0)
    monkeypatch.setattr("annals.agents.folding.damage.RETRY_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.recovery.opening.STABLE_POLL_S", 0.0)
    monkeypatch.setattr("annals.workers.kafka.read.forwarded_commands.OPEN_POLL_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.shards.shard.FENCED_PATIENCE_S", 0.0)
    monkeypatch.setattr("annals.agents.writing.shards.shard.SUSPEND_PATIENCE_S", 0.05)


def misplaced(scene: Scene) -> None:
    """Two commands for another partition (of two), each with one for this partition behind it."""
    for name in ("Ada", "Bea"):
        scene.command(name, aggregate_id="p-3")
        scene.command(name, type_="RegisterPerson" if name == "Ada" else "RenamePerson")
