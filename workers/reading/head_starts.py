"""The head starts of a process, wired to Kafka and to RocksDB: one before each reading shard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from annals.agents.folding.restore_points import PartitionId
from annals.agents.reading.ahead.head_start import USUAL, HeadStart
from annals.topics.names import TopicNames
from annals.workers.reading.restore_point import KafkaRangedJournal, KafkaRestorePoint
from annals.workers.reading.telemetry import HeadStartMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.ports import Clock
    from annals.agents.reading.ahead.ports import BesideStores
    from annals.agents.reading.following.shard import Shard
    from annals.workers.partitions import Key
    from annals.workers.reading.telemetry import ReadingMetrics
    from annals.workers.settings import Settings


OPENINGS: Final = 2  # at once: each has the links of some ten thousand events in memory


class HeadStarts:
    """Makes head starts, and says why partitions wait for a journal to be read."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaClient,
        options: Mapping[str, Any],
        counts: Mapping[str, int],
        clock: Clock,
        metrics: ReadingMetrics,
    ) -> None:
        """Take the settings, a client that all shards ask, aiokafka client options, and each kind's partitions."""
        self._settings = settings
        self._client = client
        self._options = options
        self._counts = counts
        self._clock = clock
        self._metrics = metrics
        self._names = TopicNames(settings.topic_prefix)
        self._made: dict[Key, HeadStart] = {}
        self._openings = asyncio.Semaphore(OPENINGS)
        events = settings.restore_point_events
        self._policy = USUAL._replace(least_saved=min(USUAL.least_saved, events), margin=min(USUAL.margin, events))

    def before(self, shard: Shard, stores: BesideStores) -> HeadStart:
        """Return the head start of a shard; its `run` is for the caller to start."""
        kind, partition = shard.kind, shard.partition
        names, app_id = self._names, self._settings.app_id
        is_used = self._settings.restore_point_events > 0
        made = self._made[kind, partition] = HeadStart(
            shard,
            PartitionId(kind, partition, self._counts[kind]),
            KafkaRangedJournal(self._client, names.events(kind), partition),
            KafkaRestorePoint(self._client, self._options, names, app_id, kind, partition, is_used=is_used),
            stores,
            self._clock,
            HeadStartMetrics(self._metrics, kind),
            self._policy,
            self._openings,
        )
        return made

    def problems(self) -> list[str]:
        """Return why partitions that somebody waits for are not published yet; of standbys' others do it."""
        made = [each for each in self._made.values() if not each.status().standby]
        return [problem for each in made if (problem := each.problem) is not None]
