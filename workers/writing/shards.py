"""The wiring of the shards that decide: what each of them gets of settings, brokers, stores and metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from annals.agents.folding.working_set import AggregateCache
from annals.agents.writing.batches.batch import Limits
from annals.agents.writing.recovery.losses import NOTHING
from annals.agents.writing.restore.making import LEAST_SAVED, RestorePolicy
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.shards.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.shards.shard import Phase, Shard
from annals.topics.catalog import EVENT_TOPIC_BYTES
from annals.topics.names import TopicNames, transactional_id
from annals.workers.decision_log import DecisionLog
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.open_files import raise_limit, tables
from annals.workers.partitions import Partitions
from annals.workers.stores.rocks import RocksStore, StoreBudget
from annals.workers.telemetry import ShardMetrics
from annals.workers.writing.shard_stores import LIMITS, stores_of
from annals.workers.writing.standbys import Standbys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiokafka.structs import TopicPartition

    from annals.agents.deciding.decider import Decider
    from annals.agents.writing.recovery.losses import Known
    from annals.workers.clock import SystemClock
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.partitions import Key
    from annals.workers.settings import Settings
    from annals.workers.telemetry import Metrics

BEHIND: Final = 1  # shards that read their journals beside their commands, for restore points or behind one
FOLDING: Final = 4  # shards that fold at once: each holds a fetch and a batch of decoded events in memory
WRITE_BUFFER_BYTES: Final = 32 << 20


class Shards:
    """All shards of a worker that decide (the `Wiring` of its `partitions`)."""

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
        self._aggregate_cache = AggregateCache(settings.state_cache_bytes)
        all_shards = sum(partitions[kind] for kind in deciders)
        files = raise_limit(all_shards)
        self._budget = StoreBudget(settings.store_cache_bytes, WRITE_BUFFER_BYTES, tables(files, all_shards))
        self._folding = asyncio.Semaphore(FOLDING)
        self._concurrency_limit = ConcurrencyLimit()
        self._telemetry: dict[Key, ShardMetrics] = {}
        self._known: dict[Key, Known] = {}  # of journals whose shards were here before
        kinds = {self._names.commands(kind): kind for kind in deciders}
        self._standbys = Standbys(
            settings,
            options,
            deciders,
            partitions,
            dead_partitions,
            metrics,
            clock,
            releases,
            tables(files, all_shards),
        )
        self.partitions: Final[Partitions[Shard]] = Partitions(kinds, self, files, "shards", self._standbys)

    def all(self) -> list[Shard]:
        """Return the shards that are here, in order."""
        return self.partitions.all()

    def look_for_topics(self) -> None:
        """Have the group see that topics are there again, minutes before it would by itself."""
        self._sources.refresh()

    def unfetched(self, ends: Mapping[TopicPartition, int], now: float) -> list[str]:
        """Return of which partitions nothing comes though there is something: see `Sources.unfetched`."""
        return self._sources.unfetched(ends, now)

    def measure(self) -> None:
        """Set the gauges that are read rather than told."""
        shards = self.all()
        for shard in shards:
            labels = shard.place.kind, str(shard.place.partition)
            self._metrics.open.labels(*labels).set(shard.phase is Phase.OPEN)
            store = shard.store
            if isinstance(store, RocksStore):
                self._metrics.store_bytes.labels(*labels).set(store.size_bytes())
        self._standbys.measure(self.partitions.standbys())
        self._metrics.connections.set(len(shards))
        self._metrics.turns.set(self._concurrency_limit.rule.most)

    async def close(self) -> None:
        """Close all shards and standbys, and what they share."""
        await self.partitions.close()
        await self._standbys.close()

    def problem(self, key: Key, actor: Shard) -> str | None:
        """Return why a shard takes no commands, or takes them slowly."""
        kind, partition = key
        if actor.phase is not Phase.OPEN:
            trouble = "" if actor.trouble in actor.reason else f" ({actor.trouble})"
            return f"{kind}-{partition} is {actor.phase.value}: {actor.reason}{trouble}"
        return f"{kind}-{partition} is slow: {actor.trouble}" if actor.trouble else None

    def closed(self, key: Key, actor: Shard) -> None:
        """Keep what a closed shard knew of its journal."""
        self._known[key] = actor.acknowledged.known
        self._telemetry.pop(key).close()

    def open(self, key: Key) -> Shard:
        """Return the shard of a partition."""
        kind, partition = key
        settings, names = self._settings, self._names
        partitions = self._partitions[kind]
        decider = self._deciders[kind]
        place = ShardId(kind, names.commands(kind), partition, partitions)
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
        stores = stores_of(place, decider.state_version, settings, names, self._budget)
        telemetry = self._telemetry[key] = ShardMetrics(
            self._metrics, place, self._clock, DecisionLog(place, settings.max_command_bytes)
        )
        return Shard(
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
