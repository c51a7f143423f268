"""Looks at the journals every second: where they end, how far each reading shard is, and whether the brokers answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from annals.agents.cancellation import is_task_cancelled
from annals.agents.reading.found import READING
from annals.workers.kafka.diagnosis import no_answer
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, list_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.agents.reading.following.shard import Shard
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.reading.shards import ReadingShards
    from annals.workers.reading.telemetry import ReadingMetrics

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
PATIENCE_S: Final = 4.0
RESTORE: Final = "Restore them from a copy; until then nothing of them is answered."
HINTS_EVERY: Final = 5  # looks: the group's offsets are for those who look at its lag, and nobody else


class ReadingWatch:
    """Keeps the gauges of reading, and the brokers' part of its readiness, up to date."""

    def __init__(
        self,
        options: Mapping[str, Any],
        client: AIOKafkaClient,
        shards: ReadingShards,
        sources: Sources,
        metrics: ReadingMetrics,
    ) -> None:
        """Take aiokafka options, a client that is connected by them, and what is measured."""
        self._options = options
        self._client = client
        self._shards = shards
        self._sources = sources
        self._metrics = metrics
        self._hinted: dict[TopicPartition, int] = {}
        self._leaders: dict[TopicPartition, int | None] = {}
        self._gone: set[str] = set()
        self.problem: str | None = None
        self.gone: list[str] = []
        """Which journals are gone, with what to do."""
        self.unfetched: list[str] = []
        """Of which journals nothing comes though there is something."""

    async def run(self) -> None:
        """Look until cancelled."""
        looks = 0
        while True:
            await self._look()
            self._shards.partitions_here.announce()
            looks += 1
            if looks % HINTS_EVERY == 0:
                await self._commit_hints()
            await asyncio.sleep(INTERVAL_S)

    async def _look(self) -> None:
        followed = [*self._shards.all(), *self._shards.standing.all()]
        shards = {self._shards.where(shard): shard for shard in followed}
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._compare(shards)
        except (KafkaError, OSError, TimeoutError, AssertionError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            for shard in shards.values():
                shard.doubt()
            problem = await no_answer(self._client, self._options, error)
            if self.problem is None:
                log.error("the broker does not answer", reason=problem, error=str(error))  # noqa: TRY400 - no trace
            self.problem = problem
            self.unfetched = []
        else:
            if self.problem is not None:
                log.info("the broker answers again", servers=self._options["bootstrap_servers"])
            self.problem = None
        self._metrics.broker_up.set(self.problem is None)
        for shard in self._shards.all():
            self._metrics.measure(shard)
        for shard in self._shards.standing.all():
            self._metrics.measure_standby(shard)

    def _note_gone(self, gone: set[str]) -> None:
        """Keep the journals that are gone in readiness, and have the group see one that is back.

        The group assigns no partition of a topic that is gone, and by itself asks every five minutes which there are.
        """
        if back := self._gone - gone:
            log.warning("topics are there again", topics=sorted(back))
            self._sources.refresh()
        if new := gone - self._gone:
            log.error("topics are gone", topics=sorted(new))
        self._gone = gone
        self.gone = [f"the topics {', '.join(sorted(gone))} are gone: they were deleted. {RESTORE}"] if gone else []

    async def _compare(self, shards: Mapping[TopicPartition, Shard]) -> None:
        """Ask where the journals begin and end, and have the shards compare that with what they knew before."""
        await self._client.force_metadata_update()
        there = self._client.cluster.partitions_for_topic
        self._note_gone({topic for topic in self._shards.journals() if not there(topic)})
        shards = {where: shard for where, shard in shards.items() if where.topic not in self._gone}
        asked = {where: shard.least_end() for where, shard in shards.items()}
        starts = await list_offsets(self._client, HIGH_WATERMARK, FIRST, shards)
        ends = await list_offsets(self._client, LAST_STABLE, LAST, shards)
        for where, shard in shards.items():
            leader = self._client.cluster.leader_for_partition(where)
            if self._leaders.setdefault(where, leader) != leader:
                self._leaders[where] = leader
                shard.doubt()
            shard.compare(asked[where], starts[where], ends[where])
        self.unfetched = self._sources.unfetched(ends, asyncio.get_running_loop().time())

    async def _commit_hints(self) -> None:
        following = [shard for shard in self._shards.all() if shard.status().phase == READING]
        offsets = {self._shards.where(shard): shard.status().offset for shard in following}
        moved = {where: offset for where, offset in offsets.items() if self._hinted.get(where) != offset}
        try:
            await self._sources.commit(moved)
        except (KafkaError, ValueError) as error:  # a rebalance is under way: the next look says it again
            log.debug("offsets for lag tools were not committed", error=str(error))
        else:
            self._hinted.update(moved)
