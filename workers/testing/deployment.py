"""A deployment in memory: commands go through the shards of a worker, over Kafka's log in memory."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final, Self

from annals.agents.folding.working_set import AggregateCache
from annals.agents.registered import deciders as registered_deciders
from annals.agents.waiting import ended
from annals.agents.writing.batches.batch import Limits
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.shards.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.shards.shard import Phase, Shard
from annals.schemas.envelope import RecordedEvent
from annals.schemas.journal_reader import Counted, Gap, GapError, RememberingReader
from annals.schemas.outcome import decode_outcome
from annals.topics import catalog
from annals.topics.headers import COMMAND_OFFSET, decimal_header
from annals.topics.keys import keys_of, partition_of
from annals.topics.names import TopicNames, transactional_id
from annals.workers.client import NoAnswerError
from annals.workers.client.sendable import from_members
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.partition import Rules
from annals.workers.testing.clock import MemoryClock
from annals.workers.testing.source import MemoryCommandSource
from annals.workers.testing.stores import MemoryStores
from annals.workers.testing.telemetry import MemoryTelemetry

if TYPE_CHECKING:
    from types import TracebackType

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock, Delivery
    from annals.schemas.commands import NewCommand
    from annals.schemas.outcome import Outcome
    from annals.workers.client.sendable import Sendable

GROUP: Final = "annals"
LIMITS: Final = {
    "commands": catalog.COMMAND_TOPIC_BYTES,
    "events": catalog.EVENT_TOPIC_BYTES,
    "outcomes": catalog.OUTCOME_TOPIC_BYTES,
    "snapshots": catalog.SNAPSHOT_TOPIC_BYTES,
    "dead-letters": catalog.DEAD_LETTER_TOPIC_BYTES,
}
COMMAND_BYTES: Final = 1_000_000  # as the setting ANNALS_MAX_COMMAND_BYTES has it by default
CACHE_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 10.0


class ShardStoppedError(Exception):
    """A shard does not answer: it has stopped, or cannot open. The message is its reason."""


class _Partition:
    """One partition's shard, and what it stands on: the store outlives the shard."""

    def __init__(self) -> None:
        self.stores = MemoryStores()
        self.shard: Shard | None = None
        self.source: MemoryCommandSource | None = None
        self.running: asyncio.Task[None] | None = None
        self.outcomes_read = 0


class MemoryAnnals:
    """A worker of some aggregates without brokers or disks: for tests of what commands and events do together.

        async with MemoryAnnals(CRANE) as annals:
            outcome = await annals.send(command("crane", "c-1", BuildCrane(name="Anna", tonnes=40)))
            assert outcome.status == "accepted"
            assert [event.type for event in annals.events("crane", "c-1")] == ["CraneBuilt"]

    Command handler, shard, recovery, folds and the transactional writer are those of a worker. cluster: the brokers'
    state, for tests that look at topics; telemetry: what the shards report.
    """

    def __init__(
        self,
        *deciders: Decider[Any],
        partitions: int = 1,
        clock: Clock | None = None,
        snapshot_every: int = 0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Take the deciders, by default all that are registered; `async with` opens the shards.

        Args:
            deciders: one an aggregate kind.
            partitions: of each kind's topics.
            clock: by default a `MemoryClock`, which stands still.
            snapshot_every: versions from one snapshot to the next; 0 for none.
            timeout_s: how long `send` waits for an outcome.
        """
        self.names = TopicNames()
        self.clock = clock or MemoryClock()
        self.telemetry = MemoryTelemetry(self._committed)
        self._deciders = {decider.kind: decider for decider in deciders} or registered_deciders()
        self._count = partitions
        self._snapshot_every = snapshot_every
        self._timeout_s = timeout_s
        self.cluster = MemoryCluster(self._topics(), now=lambda: self.clock.now().timestamp())
        self._options = {CLUSTER: Cluster(self.cluster)}
        self._partitions = {(kind, number): _Partition() for kind in self._deciders for number in range(partitions)}
        self._waiting: dict[tuple[str, int, int], asyncio.Future[Outcome]] = {}
        self._ids = (f"command-{number}" for number in itertools.count(1))
        self._aggregate_cache = AggregateCache(CACHE_BYTES)
        self._folding = asyncio.Semaphore(len(self._partitions))
        self._concurrency_limit = ConcurrencyLimit()

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def send(self, command: NewCommand) -> Outcome:
        """Send a command and return its outcome. One without an id gets `command-1`, `command-2` and so on.

        Raises:
            NotSendableError: it would be a dead letter.
            ShardStoppedError: its shard has stopped.
            NoAnswerError: no outcome came in time.
        """
        named = command if command.id else command.with_id(next(self._ids))
        return await self.send_members(named.kind, named.envelope())

    async def send_members(self, kind: str, members: dict[str, Any]) -> Outcome:
        """Send a command, its members as JSON types: for data that no typed command can hold. See `send`."""
        sendable = from_members(kind, members, COMMAND_BYTES, lambda: next(self._ids))
        number = partition_of(sendable.key, self._count)
        partition = self._partitions[kind, number]
        if partition.running is None or partition.source is None:
            raise RuntimeError("the shards are not open: send commands inside of `async with`")
        offset = self.cluster.append((self.names.commands(kind), number), sendable.key, sendable.value)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[kind, number, offset] = answer
        partition.source.fetch()
        try:
            either: set[asyncio.Future[Any]] = {answer, partition.running}
            await asyncio.wait(either, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise self._no_answer(partition, sendable)
        finally:
            self._waiting.pop((kind, number, offset), None)

    def events(self, kind: str, aggregate_id: str) -> list[RecordedEvent]:
        """Return the events of an aggregate that count, oldest first.

        Raises:
            GapError: events are missing in the journal.
        """
        key = aggregate_id.encode()
        number = partition_of(key, self._count)
        topic = self.names.events(kind)
        log = self.cluster.logs[topic, number]
        reader = RememberingReader(kind, keys_of(number, self._count))
        found = []
        for record in log.committed(log.start, log.end)[0]:
            if record.key == key:
                read = reader.read(record.offset, record.key, record.value)
                if type(read) is Counted:
                    found.append(RecordedEvent(**read.event, cid=read.cid))
                elif type(read) is Gap:
                    raise GapError(read.describe(f"{topic}-{number} offset {record.offset}"))
        return found

    async def restart(self, *, keeps_stores: bool = True) -> None:
        """Close all shards and open them again, as another worker would: fence, recovery, fold.

        keeps_stores: as on a machine that keeps its disk; else each shard folds its journal from the start.
        """
        await self._close()
        if not keeps_stores:
            for partition in self._partitions.values():
                partition.stores = MemoryStores()
        self._open()

    def _topics(self) -> dict[str, Topic]:
        names = self.names
        topics = {names.dead_letters: Topic(1, Rules(LIMITS["dead-letters"]))}
        for kind in self._deciders:
            for role in ("commands", "events", "outcomes", "snapshots"):
                topics[getattr(names, role)(kind)] = Topic(self._count, Rules(LIMITS[role]))
        return topics

    def _open(self) -> None:
        for (kind, number), partition in self._partitions.items():
            self._open_shard(kind, number, partition)

    def _open_shard(self, kind: str, number: int, partition: _Partition) -> None:
        names = self.names
        topics = ShardTopics(kind=kind, partition=number, names=names, limits=LIMITS, dead_partitions=1)
        shard: Shard

        def offer(delivery: Delivery) -> None:
            shard.offer(delivery)

        source = MemoryCommandSource(self.cluster.logs[topics.commands], *topics.commands, offer)
        shard = Shard(
            self._deciders[kind],
            ShardId(kind, names.commands(kind), number, self._count),
            Limits(COMMAND_BYTES, LIMITS["events"], 0, self._snapshot_every),
            KafkaShardLog(self._options, topics, transactional_id(names.events(kind), number), GROUP, "none"),
            partition.stores,
            source,
            self.clock,
            self.telemetry,
            aggregate_cache=self._aggregate_cache,
            folding=self._folding,
            concurrency_limit=self._concurrency_limit,
        )
        partition.shard, partition.source = shard, source
        partition.running = asyncio.create_task(shard.run(), name=f"shard {kind}-{number}")

    async def _close(self) -> None:
        for partition in self._partitions.values():
            if partition.running is not None and partition.shard is not None:
                await ended(partition.running)
                await partition.shard.close()
            partition.shard = partition.source = partition.running = None

    def _committed(self) -> None:
        """Hand out the outcomes of a batch, and deliver commands that it forwarded."""
        for (kind, number), partition in self._partitions.items():
            log = self.cluster.logs[self.names.outcomes(kind), number]
            records, partition.outcomes_read = log.committed(partition.outcomes_read, log.end)
            for record in records:
                command_offset = decimal_header(record.headers, COMMAND_OFFSET)
                answer = self._waiting.get((kind, number, -1 if command_offset is None else command_offset))
                if answer is not None and not answer.done():
                    answer.set_result(decode_outcome(record.value or b""))
            if partition.source is not None:
                partition.source.fetch()

    @staticmethod
    def _no_answer(partition: _Partition, command: Sendable) -> Exception:
        shard = partition.shard
        if shard is not None and shard.phase is not Phase.OPEN:
            return ShardStoppedError(f"the shard is {shard.phase.value}: {shard.reason}")
        return NoAnswerError(command.id)
