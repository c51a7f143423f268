"""The wiring of the standbys of shards that decide: what each gets of settings, brokers, stores and metrics.

What they take is bounded, and apart from what the shards have: one of them folds at a time, with a cache of states, a
block cache and write buffers that only standbys share.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.folding.working_set import AggregateCache
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.standby import Standby, StandbyPhase
from annals.topics.names import TopicNames
from annals.workers.decision_log import DecisionLog
from annals.workers.kafka.read.stable_ends import StableEnds
from annals.workers.kafka.write.recovery import ShardTopics
from annals.workers.kafka.write.standby import KafkaStandbyLog
from annals.workers.stores.rocks import StoreBudget
from annals.workers.telemetry import StandbyMetrics
from annals.workers.writing.shard_stores import LIMITS, stores_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.workers.clock import SystemClock
    from annals.workers.partitions import Key
    from annals.workers.settings import Settings
    from annals.workers.telemetry import Metrics

STATE_CACHE_BYTES: Final = 8 << 20
BLOCK_CACHE_BYTES: Final = 8 << 20
WRITE_BUFFER_BYTES: Final = 16 << 20
FOLDING: Final = 1  # standbys that fold at once: each holds two fetches and a batch of decoded events


class Standbys:
    """All standbys of a worker (the `StandbyWiring` of its `partitions`)."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        partitions: Mapping[str, int],
        dead_partitions: int,
        metrics: Metrics,
        clock: SystemClock,
        releases: Mapping[str, str],
        open_files: int,
    ) -> None:
        """Take what `Shards` has; open_files: of each store."""
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._partitions = partitions
        self._dead_partitions = dead_partitions
        self._metrics = metrics
        self._clock = clock
        self._releases = releases
        self._names = names = TopicNames(settings.topic_prefix)
        topics = [
            name for kind in deciders for name in (names.commands(kind), names.events(kind), names.outcomes(kind))
        ]
        self._ends = StableEnds(options, topics)
        self._aggregate_cache = AggregateCache(STATE_CACHE_BYTES)
        self._budget = StoreBudget(BLOCK_CACHE_BYTES, WRITE_BUFFER_BYTES, open_files)
        self._turns = asyncio.Semaphore(FOLDING)

    def open(self, key: Key) -> Standby:
        """Return the standby of a partition."""
        kind, partition = key
        settings, names, decider = self._settings, self._names, self._deciders[kind]
        place = ShardId(kind, names.commands(kind), partition, self._partitions[kind])
        topics = ShardTopics(
            kind=kind, partition=partition, names=names, limits=LIMITS, dead_partitions=self._dead_partitions
        )
        return Standby(
            decider,
            place,
            KafkaStandbyLog(self._options, topics, names.group(settings.app_id), self._ends),
            stores_of(place, decider.state_version, settings, names, self._budget),
            self._clock,
            StandbyMetrics(self._metrics, kind, DecisionLog(place, settings.max_command_bytes)),
            aggregate_cache=self._aggregate_cache,
            turns=self._turns,
            releases=self._releases,
        )

    def closed(self, key: Key, actor: Any) -> None:
        """Forget the gauges of a partition that this worker is no standby of any more."""
        del actor
        self._metrics.forget_standby(key[0], str(key[1]))

    def measure(self, standbys: Iterable[Standby]) -> None:
        """Set the gauges that are read rather than told."""
        for standby in standbys:
            labels = standby.place.kind, str(standby.place.partition)
            self._metrics.standby_open.labels(*labels).set(standby.phase is StandbyPhase.FOLLOWING)
            end = self._ends.end(TopicPartition(self._names.events(standby.place.kind), standby.place.partition))
            if end is not None:
                self._metrics.standby_lag.labels(*labels).set(max(0, end - standby.read_until))

    async def close(self) -> None:
        """Disconnect; all standbys are closed."""
        await self._ends.close()
