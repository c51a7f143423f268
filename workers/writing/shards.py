"""The shards of one worker: opened on assignment, kept through a rebalance, closed when taken."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.folding.working_set import AggregateCache
from annals.agents.ports import StoreUnavailableError
from annals.agents.writing.batch import Limits, Place
from annals.agents.writing.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.losses import NOTHING
from annals.agents.writing.restore.making import LEAST_SAVED, RestorePolicy
from annals.agents.writing.shard import Phase, Shard
from annals.topics.catalog import (
    COMMAND_TOPIC_BYTES,
    DEAD_LETTER_TOPIC_BYTES,
    EVENT_TOPIC_BYTES,
    OUTCOME_TOPIC_BYTES,
    RESTORE_TOPIC_BYTES,
    SNAPSHOT_TOPIC_BYTES,
)
from annals.topics.names import TopicNames, transactional_id
from annals.workers.decision_log import DecisionLog
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.open_files import most_shards, raise_limit, tables, too_few
from annals.workers.stores.beside import discard, open_beside
from annals.workers.stores.folders import set_aside
from annals.workers.stores.rocks import RocksStore, StoreBudget, identity_of, open_store, renew_store
from annals.workers.telemetry import ShardMetrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiokafka.structs import TopicPartition

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import StoreDamagedError
    from annals.agents.writing.losses import Known
    from annals.workers.clock import SystemClock
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.settings import Settings
    from annals.workers.stores.rocks import Identity
    from annals.workers.telemetry import Metrics

log = structlog.get_logger(__name__)

BEHIND: Final = 1  # shards that read their journals beside their commands, for restore points or behind one
FOLDING: Final = 4  # shards that fold at once: each holds a fetch and a batch of decoded events in memory
WRITE_BUFFER_BYTES: Final = 32 << 20
LIMITS: Final = {
    "commands": COMMAND_TOPIC_BYTES,
    "events": EVENT_TOPIC_BYTES,
    "outcomes": OUTCOME_TOPIC_BYTES,
    "snapshots": SNAPSHOT_TOPIC_BYTES,
    "restore": RESTORE_TOPIC_BYTES,
    "dead-letters": DEAD_LETTER_TOPIC_BYTES,
}
CANCEL_AGAIN_S: Final = 0.5
Key = tuple[str, int]  # kind, partition


class Stores:
    """Opens the store of one shard (the `StoreFactory` port)."""

    def __init__(self, root: Path, identity: Identity, budget: StoreBudget, compression: str) -> None:
        """Take the data folder, what the store is a fold of, and the memory that all stores share."""
        self._root = root
        self._identity = identity
        self._budget = budget
        self._compression = compression
        self._folder: Path | None = None
        self.failing_since: float | None = None
        self.failure = ""
        """Why the store cannot be opened, while that is so."""

    async def open(self) -> RocksStore:
        """Open the store, or begin one."""
        try:
            store = await open_store(self._root, self._identity, self._budget, self._compression)
        except StoreUnavailableError as error:  # of this machine; a damaged store is folded anew
            if self.failing_since is None:
                self.failing_since = time.monotonic()
            self.failure = str(error)
            raise
        self.failing_since = None
        self._folder = store.folder
        return store

    async def renew(self, store: Any) -> RocksStore:
        """Begin the store anew."""
        return await renew_store(store, self._identity, self._budget, self._compression)

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""
        folder = Path(damage.folder) if damage.folder else self._folder
        if folder is not None:
            await set_aside(folder)

    async def open_beside(self) -> RocksStore:
        """Begin an empty store beside the shard's own."""
        return await open_beside(self._root, self._identity, self._budget, self._compression)

    async def discard(self, store: Any) -> None:
        """Close a store that was opened beside, and remove it."""
        await discard(store)

    async def close(self, store: Any) -> None:
        """Close the store; RocksDB flushes what is in memory."""
        await asyncio.to_thread(store.close)


class Shards:
    """All shards of a worker."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        partitions: Mapping[str, int],
        dead_partitions: int,
        sources: Sources,
        metrics: Metrics,
        clock: SystemClock,
        releases: Mapping[str, str],
        restorable: Collection[str] = (),
    ) -> None:
        """Take the settings, aiokafka options, the deciders, each kind's number of partitions, and so on.

        `releases`: which release published which schema, by URN; `restorable`: the kinds that have a topic for restore
        points.
        """
        self._restorable = frozenset(restorable)
        self._background = asyncio.Semaphore(BEHIND)
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._partitions = partitions
        self._dead_partitions = dead_partitions
        self._sources = sources
        self._metrics = metrics
        self._clock = clock
        self._releases = releases
        self._names = TopicNames(settings.topic_prefix)
        self._kinds = {self._names.commands(kind): kind for kind in deciders}
        self._aggregate_cache = AggregateCache(settings.state_cache_bytes)
        all_shards = sum(partitions[kind] for kind in deciders)
        self._files = raise_limit(all_shards)
        self._budget = StoreBudget(settings.store_cache_bytes, WRITE_BUFFER_BYTES, tables(self._files, all_shards))
        self._too_few_files: str | None = None
        self._folding = asyncio.Semaphore(FOLDING)
        self._concurrency_limit = ConcurrencyLimit()
        self._shards: dict[Key, Shard] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._stores: dict[Key, Stores] = {}
        self._telemetry: dict[Key, ShardMetrics] = {}
        self._known: dict[Key, Known] = {}  # of journals whose shards were here before
        self._changing = asyncio.Lock()
        self.is_assigned = False
        self._are_open = False

    def shard_of(self, topic: str, partition: int) -> Shard | None:
        """Return the shard of a command partition; None if it is not here."""
        return self._shards.get((self._kinds[topic], partition))

    def all(self) -> list[Shard]:
        """Return the shards that are here, in order."""
        return [self._shards[key] for key in sorted(self._shards)]

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Suspend before partitions move: what is in flight may end, nothing new begins."""
        del revoked  # a rebalance takes all partitions at once; which ones come back is known only afterwards
        self.is_assigned = self._are_open = False
        await asyncio.gather(*(shard.suspend() for shard in self.all()))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Close what was taken, go on with what stayed, open what is new."""
        wanted = {(self._kinds[tp.topic], tp.partition) for tp in assigned if tp.topic in self._kinds}
        async with self._changing:
            await asyncio.gather(*(self._close(key) for key in list(self._shards) if key not in wanted))
            self._too_few_files = too_few(self._files, len(wanted))
            for key in sorted(wanted):
                if key in self._shards:
                    self._shards[key].resume()
                elif len(self._shards) < most_shards(self._files):
                    self._open(key)
        if self._too_few_files:
            log.error("too few files for the shards assigned", reason=self._too_few_files)
        self.is_assigned = True
        log.info("shards assigned", shards=[f"{kind}-{partition}" for kind, partition in sorted(wanted)])

    def not_ready(self) -> list[str]:
        """Return why the worker is not ready, a reason per shard; empty when it is."""
        if not self.is_assigned:
            return ["no partitions have been assigned yet: a rebalance is under way, or the group cannot be reached"]
        reasons = [self._too_few_files] if self._too_few_files else []
        for shard in self.all():
            name = f"{shard.place.kind}-{shard.place.partition}"
            if shard.phase is not Phase.OPEN:
                reasons.append(f"{name} is {shard.phase.value}: {shard.reason}")
            elif shard.trouble:
                reasons.append(f"{name} is slow: {shard.trouble}")
        return reasons

    def look_for_topics(self) -> None:
        """Have the group see that topics are there again, minutes before it would by itself."""
        self._sources.refresh()

    def announce(self) -> None:
        """Say once after each assignment that all shards are open."""
        if not self._are_open and not self.not_ready():
            self._are_open = True
            log.info("all shards open", shards=len(self._shards))

    def failing_stores(self, seconds: float) -> list[Stores]:
        """Return those that have failed to open for so long."""
        before = time.monotonic() - seconds
        return [
            each for each in self._stores.values() if each.failing_since is not None and each.failing_since < before
        ]

    def measure(self) -> None:
        """Set the gauges that are read rather than told."""
        for (kind, partition), shard in self._shards.items():
            self._metrics.open.labels(kind, str(partition)).set(shard.phase is Phase.OPEN)
            store = shard.store
            if isinstance(store, RocksStore):
                self._metrics.store_bytes.labels(kind, str(partition)).set(store.size_bytes())
        self._metrics.connections.set(len(self._shards))
        self._metrics.turns.set(self._concurrency_limit.rule.most)

    async def suspend(self) -> None:
        """Let what is in flight end, and begin nothing new: the worker is about to stop."""
        await asyncio.gather(*(shard.suspend() for shard in self.all()))

    async def close(self) -> None:
        """Close all shards."""
        async with self._changing:
            await asyncio.gather(*(self._close(key) for key in list(self._shards)))

    def _open(self, key: Key) -> None:
        kind, partition = key
        settings, names = self._settings, self._names
        partitions = self._partitions[kind]
        decider = self._deciders[kind]
        place = Place(kind, names.commands(kind), partition, partitions)
        topics = ShardTopics(
            kind=kind,
            partition=partition,
            names=names,
            limits=LIMITS,
            dead_partitions=self._dead_partitions,
            has_restore_points=kind in self._restorable,
        )
        journal = KafkaShardLog(
            self._options,
            topics,
            transactional_id(names.events(kind), partition),
            names.group(settings.app_id),
            settings.compression,
        )
        identity = identity_of(kind, partition, partitions, decider.state_version, names.events(kind))
        root = Path(settings.data_dir) / names.group(settings.app_id)
        stores = self._stores[key] = Stores(root, identity, self._budget, settings.store_compression)
        telemetry = self._telemetry[key] = ShardMetrics(
            self._metrics, place, self._clock, DecisionLog(place, settings.max_command_bytes)
        )
        shard = Shard(
            decider,
            place,
            Limits(
                settings.max_command_bytes,
                EVENT_TOPIC_BYTES,
                settings.max_events_per_aggregate or 0,
                settings.snapshot_every,
            ),
            journal,
            stores,
            self._sources.source(place.topic, partition),
            self._clock,
            telemetry,
            aggregate_cache=self._aggregate_cache,
            folding=self._folding,
            concurrency_limit=self._concurrency_limit,
            accept_expired=settings.accept_expired,
            releases=self._releases,
            known=self._known.pop(key, NOTHING),
            policy=RestorePolicy(
                settings.restore_point_events,
                settings.restore_point_seconds,
                least_saved=min(LEAST_SAVED, settings.restore_point_events),
            ),
            background=self._background,
        )
        self._shards[key] = shard
        self._tasks[key] = asyncio.create_task(shard.run(), name=f"shard {kind}-{partition}")

    async def _close(self, key: Key) -> None:
        shard, task = self._shards.pop(key), self._tasks.pop(key)
        while not task.done():
            # aiokafka's clients, closing, take a cancellation that meets them for that of a task of their own
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
        await shard.close()
        self._known[key] = shard.acknowledged.known
        self._telemetry.pop(key).close()
        del self._stores[key]
