"""Looks whether transactions hold up what this process reads and writes; readiness names the partitions.

Behind a transaction that is open nothing is read: of a journal no event, of `progress` not how far publishing is, of
`subscriptions` no change. Nobody fails meanwhile, so that nothing else would speak of one that never ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.cancellation import is_task_cancelled
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.blocked import BlockedPartitions
from annals.workers.kafka.read.offsets import HIGH_WATERMARK, LAST, LAST_STABLE, list_offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiokafka.client import AIOKafkaClient
    from prometheus_client import Gauge

    from annals.agents.ports import Clock
    from annals.topics.names import TopicNames
    from annals.workers.partitions import Key


log = structlog.get_logger(__name__)

INTERVAL_S: Final = 5.0
ANSWER_WITHIN_S: Final = 10.0
OF_NAMES: Final = ("subscribers", "acks", "parked", "deliveries", "timers", "rekeyed", "replays")


class ReadingTopics:
    """What the reading processes of a deployment read and write, and which of it goes with which journal partitions."""

    def __init__(self, names: TopicNames, partitions: Mapping[str, int]) -> None:
        """Take the names of topics, and each kind's number of partitions."""
        self._partitions = partitions
        self._kinds = {
            topic: kind
            for kind in partitions
            for topic in (names.events(kind), names.outcomes(kind), names.restore(kind))
        }
        self._of_all = {
            names.progress,
            names.subscriptions,
            names.reactions,
            names.projections,
            names.jobs,
            names.audit,
            names.dead_letters,
        }
        self._of_names = tuple(f"{names.prefix}{word}." for word in OF_NAMES)

    def has(self, topic: str) -> bool:
        """Whether it is one of them."""
        return topic in self._kinds or topic in self._of_all or topic.startswith(self._of_names)

    def goes_with(self, where: TopicPartition, count: int, here: Collection[Key]) -> bool:
        """Whether one of its partitions, of so many, is read or written beside one of these journal partitions.

        A topic of one partition is everybody's.
        """
        topic, partition = where
        kind = self._kinds.get(topic)
        if kind is not None:
            return (kind, partition) in here
        return count == 1 or any(
            each % count == partition or partition % self._partitions[kind] == each for kind, each in here
        )


class BlockedReading:
    """The partitions that this process rests on, and that a transaction has held up for longer than any of ours may."""

    def __init__(
        self,
        options: Mapping[str, Any],
        topics: ReadingTopics,
        here: Callable[[], Collection[Key]],
        blocked: Gauge,
        clock: Clock,
    ) -> None:
        """Take aiokafka client options, the topics, which journal partitions are followed here, and the gauge."""
        self._options = options
        self._topics = topics
        self._here = here
        self._gauge = blocked
        self._known = BlockedPartitions(clock)
        self._client: AIOKafkaClient | None = None

    @property
    def problems(self) -> list[str]:
        """Where nothing is read any more, since when, with what to do: a sentence or more for each partition."""
        return self._known.problems

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(INTERVAL_S)
        finally:
            self._tell({}, {})
            await self._disconnect()

    async def look(self) -> None:
        """Look once; what cannot be asked now stays as it is known."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._ask()
        except (KafkaError, OSError, TimeoutError, AssertionError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            await self._disconnect()  # that no broker answers is said by whoever reads the journals
            log.debug("open transactions could not be looked for", error=str(error))

    async def _ask(self) -> None:
        if self._client is None:
            self._client = await connect(self._options, [])
        await self._client.force_metadata_update()
        wheres = self._wheres(self._client)
        stable = await list_offsets(self._client, LAST_STABLE, LAST, wheres)
        ends = await list_offsets(self._client, HIGH_WATERMARK, LAST, wheres)
        self._tell(stable, ends)

    def _wheres(self, client: AIOKafkaClient) -> list[TopicPartition]:
        """Return the partitions that this process rests on; those without a leader say nothing at present."""
        here, cluster = self._here(), client.cluster
        return [
            TopicPartition(topic, partition)
            for topic in sorted(filter(self._topics.has, cluster.topics()))
            for partition in sorted(cluster.available_partitions_for_topic(topic) or ())
            if self._topics.goes_with(
                TopicPartition(topic, partition), len(cluster.partitions_for_topic(topic) or ()), here
            )
        ]

    def _tell(self, stable: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        blocked = self._known.note(stable, ends)
        self._gauge.clear()
        for where, seconds in blocked.items():
            self._gauge.labels(*map(str, where)).set(seconds)

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
