"""Looks at the brokers every other second: whether they answer, how far each shard is behind, and who else writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from annals.agents.writing.cancellation import is_task_cancelled
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.offsets import HIGH_WATERMARK, LAST, LAST_STABLE, list_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.workers.clock import SystemClock
    from annals.workers.telemetry import Metrics
    from annals.workers.writing.shards import Shards

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 2.0
PATIENCE_S: Final = 4.0  # a look and its time-out are over within the ten seconds in which readiness must turn


class Watch:
    """Keeps the gauges of lag, and the broker's part of readiness, up to date."""

    def __init__(
        self,
        options: Mapping[str, Any],
        journals: Mapping[str, str],
        partitions: Mapping[str, int],
        shards: Shards,
        metrics: Metrics,
        clock: SystemClock,
    ) -> None:
        """Take aiokafka options, the journal of each command topic, its partitions at the start, and the rest."""
        self._options = {**options, "request_timeout_ms": int(PATIENCE_S * 1000)}
        self._servers = options["bootstrap_servers"]
        self._journals = journals
        self._partitions = partitions
        self._shards = shards
        self._metrics = metrics
        self._clock = clock
        self._client: AIOKafkaClient | None = None
        self._blocked_since: dict[tuple[str, int], tuple[float, int]] = {}
        self.problem: str | None = None
        self.added: list[str] = []
        """Where there are more partitions than at the start, with what to do, a sentence for each topic."""

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self._look()
                self._shards.announce()
                await asyncio.sleep(INTERVAL_S)
        finally:
            await self._disconnect()

    async def _look(self) -> None:
        try:
            await asyncio.wait_for(self._measure(), PATIENCE_S)
        except (KafkaError, OSError, TimeoutError, AssertionError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            await self._disconnect()
            if self.problem is None:
                log.error("the broker does not answer", servers=self._servers, error=str(error))  # noqa: TRY400 - no trace
            self.problem = f"no answer from the Kafka brokers at {self._servers}: {type(error).__name__}"
            self._metrics.broker_up.set(0)
        else:
            if self.problem is not None:
                log.info("the broker answers again", servers=self._servers)
            self.problem = None
            self._metrics.broker_up.set(1)

    async def _measure(self) -> None:
        if self._client is None:
            self._client = await connect(self._options, [*self._journals, *self._journals.values()])
        await self._count()
        shards = {(shard.place.topic, shard.place.partition): shard for shard in self._shards.all()}
        ends = await list_offsets(self._client, HIGH_WATERMARK, LAST, shards)
        stable = await list_offsets(self._client, LAST_STABLE, LAST, shards)
        journals = {where: (self._journals[where[0]], where[1]) for where in shards}
        journal_ends = await list_offsets(self._client, HIGH_WATERMARK, LAST, journals.values())
        now = self._clock.monotonic()
        for where, shard in shards.items():
            shard.compare(journal_ends[journals[where]])
            labels = shard.place.kind, str(shard.place.partition)
            self._metrics.lag.labels(*labels).set(shard.behind(ends[where]))
            self._metrics.blocked.labels(*labels).set(self._blocked(where, stable[where], ends[where], now))
        self._shards.measure()

    async def _count(self) -> None:
        """See whether partitions were added: keys that move to them leave their chains behind."""
        await self._client.force_metadata_update()  # type: ignore[union-attr] # `_measure` connected it
        found = {topic: len(self._client.cluster.partitions_for_topic(topic) or ()) for topic in self._partitions}  # type: ignore[union-attr]
        added = [
            f"{topic} has {found[topic]} partitions, at the start it had {count}: keys that belong to the new ones now "
            f"have their chains in others, and what is sent there is not decided. Partitions cannot be added to a "
            f"journal: recreate the topic with {count}."
            for topic, count in self._partitions.items()
            if found[topic] > count
        ]
        for each in added:
            if each not in self.added:
                log.error("partitions were added", reason=each)
        self.added = added

    def _blocked(self, where: tuple[str, int], stable: int, end: int, now: float) -> float:
        """Return the seconds for which the last stable offset has stood still below the end."""
        if stable >= end:
            self._blocked_since.pop(where, None)
            return 0.0
        since, at = self._blocked_since.get(where, (now, stable))
        if at != stable:
            since = now
        self._blocked_since[where] = since, stable
        return now - since

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
