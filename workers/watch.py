"""Looks at the brokers every second: do they answer, how far is each shard behind, who else writes, what is lost?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.cancellation import is_task_cancelled
from annals.agents.ports import Ends
from annals.workers.kafka.connections import connect
from annals.workers.kafka.diagnosis import no_answer
from annals.workers.kafka.read.blocked import BlockedPartitions
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, list_offsets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.topics.names import TopicNames
    from annals.workers.clock import SystemClock
    from annals.workers.telemetry import Metrics
    from annals.workers.writing.shards import Shards

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0  # readiness tells within two seconds of what was lost
PATIENCE_S: Final = 4.0  # a look and its time-out are over within the ten seconds in which readiness must turn
RESTORE: Final = "Restore a journal from a copy; make the others again with 'annals topics create'."


class KindTopics(NamedTuple):
    """A kind, and the topics that its shards cannot do without."""

    kind: str
    commands: str
    events: str
    outcomes: str
    snapshots: str
    dead_letters: str

    @classmethod
    def of(cls, kind: str, names: TopicNames) -> Self:
        """Return the topics of a kind."""
        of_kind = names.commands(kind), names.events(kind), names.outcomes(kind), names.snapshots(kind)
        return cls(kind, *of_kind, names.dead_letters)


def _adding(topics: KindTopics) -> Iterator[tuple[str, str, str]]:
    """Yield what follows from partitions that are added to a topic, and what to do."""
    yield topics.commands, "what is sent there is not decided", "recreate the topic"
    others = "whoever reads them looks for keys there"
    yield topics.events, others, "restore it from a copy of its records into a topic"
    for topic in (topics.outcomes, topics.snapshots):
        yield topic, others, "recreate the topic"


class Watch:
    """Keeps the gauges of lag, and the broker's part of readiness, up to date."""

    def __init__(
        self,
        options: Mapping[str, Any],
        kinds: Mapping[str, KindTopics],
        partitions: Mapping[str, int],
        shards: Shards,
        metrics: Metrics,
        clock: SystemClock,
    ) -> None:
        """Take aiokafka options; by topic of commands a kind's topics; by kind its partitions; and the rest."""
        self._options = {**options, "request_timeout_ms": int(PATIENCE_S * 1000)}
        self._servers = options["bootstrap_servers"]
        self._kinds = kinds
        self._topics = sorted({topic for topics in kinds.values() for topic in topics[1:]})
        self._partitions = partitions
        self._shards = shards
        self._metrics = metrics
        self._clock = clock
        self._client: AIOKafkaClient | None = None
        self._is_outdated = False
        self._blocked = BlockedPartitions(clock)
        self._written = BlockedPartitions(clock)
        self._gone: set[str] = set()  # topics of commands of kinds that lack a topic
        self._leaders: dict[TopicPartition, int | None] = {}
        self.problem: str | None = None
        self.gone: list[str] = []
        """Which topics are gone, with what to do."""
        self.unfetched: list[str] = []
        """Of which partitions nothing comes though there is something."""
        self.added: dict[str, str] = {}
        """By topic that has more partitions than at the start, a sentence with what to do."""

    @property
    def blocked(self) -> list[str]:
        """Which journals and outcomes nobody can read to their ends, with what to do."""
        return self._written.problems

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self._look()
                self._shards.partitions.announce()
                await asyncio.sleep(INTERVAL_S)
        finally:
            await self._disconnect()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._measure()
        except (KafkaError, OSError, TimeoutError, AssertionError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            for shard in self._shards.all():
                shard.acknowledged.doubt()
            problem = await no_answer(self._client, self._options, error)
            self._is_outdated = True
            if self.problem is None:
                log.error("the broker does not answer", reason=problem, error=str(error))  # noqa: TRY400 - no trace
            self.problem = problem
            self.unfetched = []
            self._metrics.broker_up.set(0)
        else:
            if self.problem is not None:
                log.info("the broker answers again", servers=self._servers)
            self.problem = None
            self._metrics.broker_up.set(1)

    async def _measure(self) -> None:
        client = await self._connected()
        await self._count(client)
        shards = {
            TopicPartition(shard.place.topic, shard.place.partition): shard
            for shard in self._shards.all()
            if shard.place.topic not in self._gone
        }
        asked = {where: shard.ends() for where, shard in shards.items()}
        journals = {where: TopicPartition(self._kinds[where.topic].events, where.partition) for where in shards}
        outcomes = {where: TopicPartition(self._kinds[where.topic].outcomes, where.partition) for where in shards}
        everything = [*shards, *journals.values(), *outcomes.values()]
        ends, stable, starts = await asyncio.gather(
            list_offsets(client, HIGH_WATERMARK, LAST, everything),
            list_offsets(client, LAST_STABLE, LAST, everything),
            list_offsets(client, HIGH_WATERMARK, FIRST, journals.values()),
        )
        now = self._clock.monotonic()
        leaders = {where: client.cluster.leader_for_partition(where) for where in shards}
        for where, shard in shards.items():
            if self._leaders.get(where, leaders[where]) != leaders[where]:
                shard.acknowledged.doubt()
            journal, known = journals[where], asked[where]
            if known is not None:
                shard.compare(known, Ends(starts[journal], ends[journal], ends[outcomes[where]], ends[where]))
            shard.keep_position()
            labels = shard.place.kind, str(shard.place.partition)
            self._metrics.lag.labels(*labels).set(shard.lag(ends[where]))
            self._metrics.blocked.labels(*labels).set(self._blocked.seconds(where, stable[where], ends[where]))
        self._leaders = leaders
        self._written.note({where: stable[where] for where in (*journals.values(), *outcomes.values())}, ends)
        self.unfetched = self._shards.unfetched(stable, now)
        self._shards.measure()

    async def _count(self, client: AIOKafkaClient) -> None:
        """See whether topics are gone, or partitions were added: keys that move to those leave their chains behind."""
        await client.force_metadata_update()
        there = {topic: len(client.cluster.partitions_for_topic(topic) or ()) for topic in self._topics}
        self._note_gone({topic for topic, count in there.items() if not count})
        added = {
            topic: f"{topic} has {there[topic]} partitions, at the start it had {count}: keys that belong to the new "
            f"ones now have their chains in others, and {what_follows}. Partitions cannot be added to a journal: "
            f"{what_to_do} with {count}."
            for kind_topics in self._kinds.values()
            for topic, what_follows, what_to_do in _adding(kind_topics)
            if there[topic] > (count := self._partitions[kind_topics.kind])
        }
        for topic, reason in added.items():
            if reason != self.added.get(topic):
                log.error("partitions were added", reason=reason)
        self.added = added

    def _note_gone(self, gone: set[str]) -> None:
        """Keep the kinds whose topics are gone in readiness and metrics, and have the group see one that is back.

        The group assigns no partition of a topic that is gone, so that nobody else would speak of it.
        """
        absent = {commands for commands, topics in self._kinds.items() if gone.intersection(topics)}
        if back := self._gone - absent:
            log.warning("topics are there again", topics=sorted(back))
            self._shards.look_for_topics()
        elif absent - self._gone:
            log.error("topics are gone", topics=sorted(gone))
        self._gone = absent
        self.gone = [f"the topics {', '.join(sorted(gone))} are gone: they were deleted. {RESTORE}"] if gone else []
        self._metrics.sweep({self._kinds[commands].kind for commands in absent})

    async def _connected(self) -> AIOKafkaClient:
        """Return a client, a new one behind a failure; the former knows until then who does not answer."""
        if self._client is None or self._is_outdated:
            former, self._client = self._client, await connect(self._options, self._topics)
            self._is_outdated = False
            if former is not None:
                await former.close()
        return self._client

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
