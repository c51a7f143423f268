"""One worker process of a history: the shards of the partitions that the group gave it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.folding.working_set import AggregateCache
from annals.agents.ports import Ends
from annals.agents.writing.batches.batch import Limits
from annals.agents.writing.recovery.losses import NOTHING
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.shards.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.shards.shard import Phase, Shard
from annals.topics.names import transactional_id
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, list_offsets
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.memory.client import Cluster
from annals.workers.tools.simulation.disks import DiskStores
from annals.workers.tools.simulation.network import Network
from annals.workers.tools.simulation.plan import PARTITIONS, START
from annals.workers.tools.simulation.readers import Readers
from annals.workers.tools.simulation.source import SimulatedSource
from annals.workers.tools.simulation.standbys import Standbys

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import datetime

    from annals.agents.ports import Delivery
    from annals.agents.writing.recovery.losses import Known
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.disks import Host
    from annals.workers.tools.simulation.world import World

GROUP: Final = "annals"
HOT_BYTES: Final = 8_000  # room for a few aggregates, so that some are read from the store
WATCH_S: Final = 1.0
COMMAND_BYTES: Final = 10_000
LIMITS: Final = {
    "commands": 20_000,
    "events": 8_000,
    "outcomes": 4_000,
    "snapshots": 4_000,
    "restore": 60_000,
    "dead-letters": 30_000,
}


class Clock:
    """The clock of a process's host (the `Clock` port)."""

    def __init__(self, process: Process) -> None:
        """Take whose it is."""
        self._process = process

    def now(self) -> datetime:
        """Return the time, as the host has it."""
        return START + timedelta(seconds=self.monotonic() + self._process.host.clock_s)

    def monotonic(self) -> float:
        """Return the seconds since the history began."""
        return self._process.world.loop.time()


class Telemetry:
    """Counts what the shards tell (the `ShardTelemetry` port)."""

    def __init__(self, world: World) -> None:
        """Take where it is counted."""
        self._counts = world.counts

    def committed(self, *_: Any) -> None:
        """A batch was committed."""
        self._counts["committed"] += 1

    def folded(self, *_: Any) -> None:
        """Not looked at."""

    def cached(self, *_: Any) -> None:
        """Not looked at."""

    def aborted(self) -> None:
        """The end of a transaction was not known."""
        self._counts["uncertain"] += 1

    def fenced(self) -> None:
        """Another writer took a journal over."""
        self._counts["fenced"] += 1

    def restore_point(self, *_: Any) -> None:
        """A restore point was made."""
        self._counts["restore point"] += 1

    def restored(self) -> None:
        """A shard was opened from one, and is folded in full."""
        self._counts["restored"] += 1

    def damaged(self) -> None:
        """Not looked at."""


class Process:
    """A worker process: alive from its start to its crash.

    frozen_until: it does nothing before; looked_at: when its last whole look at the partitions' ends began; is_cut: it
    reaches nobody; is_lost: the group does not hear of it, though it goes on.
    """

    def __init__(self, world: World, host: Host, number: int) -> None:
        """Start on a host, the how manieth in its history, with no partitions yet."""
        self.world = world
        self.number = number
        self.host = host
        self.is_alive = True
        self.is_cut = False
        self.is_lost = False
        self.frozen_until = 0.0
        self.looked_at = -1.0
        self.shards: dict[Key, Shard] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._options = {CLUSTER: Cluster(world.model, Network(world, self)), "request_timeout_ms": 15_000}
        self._aggregate_cache = AggregateCache(HOT_BYTES)
        self._folding = asyncio.Semaphore(2)
        self._background = asyncio.Semaphore(1)
        self._concurrency_limit = ConcurrencyLimit()
        self._known: dict[Key, Known] = {}  # of journals whose shards were here before
        self.standbys = Standbys(self, GROUP, LIMITS, Clock(self), Telemetry(world))
        self.readers = Readers(self, GROUP, Clock(self))
        self.spawn(self._watch())
        if world.plan.has_readers:
            self.spawn(self.readers.watch())
        if world.plan.has_publishers:
            self.spawn(self.readers.publishers.watch())

    def can_reach(self) -> bool:
        """Whether it can speak to the brokers now."""
        return self.is_alive and not self.is_cut and self.world.loop.time() >= self.frozen_until

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that ends with the process."""
        task = self.world.loop.create_task(work)
        self._tasks.append(task)
        return task

    def kill(self) -> None:
        """End at once: nothing of it runs any more. What ended by an exception before is known now."""
        self.is_alive = False
        for task in [*self._tasks, *self._running.values()]:
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None:
                self.world.problems.append(f"failed: worker {self.number}: {error!r}")
            task.cancel()
        self.standbys.kill()
        self.readers.kill()

    async def revoked(self) -> None:
        """Suspend before partitions move."""
        suspending = [shard.suspend() for shard in self.shards.values()]
        if self.world.plan.has_publishers:
            suspending.append(self.readers.publishers.suspend())
        if self.world.plan.has_reactions:
            suspending.append(self.readers.reactors.suspend())
        await asyncio.gather(*suspending)

    async def assigned(self, keys: list[Key], standing: list[Key]) -> None:
        """Close what was taken, go on with what stayed, open what is new; standing: of others, to be a standby of."""
        await asyncio.gather(
            *(self._close(key) for key in list(self.shards) if key not in keys),
            *(self.standbys.close(key) for key in list(self.standbys.all) if key not in standing),
        )
        for key in keys:
            if key in self.shards:
                self.shards[key].resume()
            else:
                self._open(key)
        for key in standing:
            self.standbys.open(key)

    def _open(self, key: Key) -> None:
        kind, partition = key
        world = self.world
        names = world.names
        topics = ShardTopics(
            kind=kind, partition=partition, names=names, limits=LIMITS, dead_partitions=1, has_restore_points=True
        )
        shard: Shard

        def offer(delivery: Delivery) -> None:
            shard.offer(delivery)

        shard = Shard(
            world.deciders[kind],
            ShardId(kind, names.commands(kind), partition, PARTITIONS),
            Limits(COMMAND_BYTES, LIMITS["events"], 0, world.plan.snapshot_every),
            KafkaShardLog(self._options, topics, transactional_id(names.events(kind), partition), GROUP, "none"),
            DiskStores(self, key),
            SimulatedSource(self, topics.commands, offer),
            Clock(self),
            Telemetry(world),
            aggregate_cache=self._aggregate_cache,
            folding=self._folding,
            accept_expired=key in world.accepts_expired,
            concurrency_limit=self._concurrency_limit,
            known=self._known.pop(key, NOTHING),
            policy=world.plan.restore,
            background=self._background,
        )
        self.shards[key] = shard
        self._running[key] = world.loop.create_task(self._run(key, shard))

    async def _run(self, key: Key, shard: Shard) -> None:
        await shard.run()
        self.world.person.told(self, key, shard.reason)

    async def _close(self, key: Key) -> None:
        shard, task = self.shards.pop(key), self._running.pop(key)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await shard.close()
        self._known[key] = shard.acknowledged.known

    async def _watch(self) -> None:
        """Compare where each shard's partitions end with what it knows, as `annals.workers.watch` does."""
        client = await connect(self._options, [])
        while True:
            await asyncio.sleep(WATCH_S)
            began = self.world.loop.time()
            self.standbys.look()
            try:
                if await self._look(client):
                    self.looked_at = began
            except (KafkaError, OSError):
                for shard in self.shards.values():
                    shard.acknowledged.doubt()

    async def _look(self, client: Any) -> bool:
        """Return whether all shards were compared: none that is suspended is."""
        names = self.world.names
        asked = {key: (shard, shard.ends()) for key, shard in self.shards.items()}
        journals = [TopicPartition(names.events(kind), partition) for kind, partition in asked]
        outcomes = [TopicPartition(names.outcomes(kind), partition) for kind, partition in asked]
        commands = [TopicPartition(names.commands(kind), partition) for kind, partition in asked]
        ends = await list_offsets(client, HIGH_WATERMARK, LAST, [*journals, *outcomes, *commands])
        starts = await list_offsets(client, HIGH_WATERMARK, FIRST, journals)
        for (shard, known), journal, answers, own in zip(asked.values(), journals, outcomes, commands, strict=True):
            if known is not None:
                shard.compare(known, Ends(starts[journal], ends[journal], ends[answers], ends[own]))
            shard.keep_position()
        return all(known is not None for _, known in asked.values())

    def stopped(self) -> dict[Key, str]:
        """Return the shards that have stopped, with their reasons."""
        return {key: shard.reason for key, shard in self.shards.items() if shard.phase is Phase.STOPPED}
