"""The wiring of the reading shards: one for each journal partition that this process has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.reading.losses import Losses
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.recent_states import RecentStates
from annals.agents.reading.shard import READING, Shard
from annals.topics.names import TopicNames
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.open_files import raise_limit, tables
from annals.workers.partitions import Partitions
from annals.workers.reading.acknowledged import KafkaAcknowledged
from annals.workers.reading.restore_point import KafkaRangedJournal
from annals.workers.reading.telemetry import ReadingShardMetrics
from annals.workers.settings.snapshots import snapshot_policies
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity
from annals.workers.stores.rocks import StoreBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Delivery
    from annals.agents.reading.ahead.ports import BesideStores
    from annals.agents.reading.answers import AskRows
    from annals.agents.reading.ports import Follower, ReadingShard
    from annals.workers.clock import SystemClock
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.partitions import Actor, Key
    from annals.workers.reading.telemetry import ReadingMetrics
    from annals.workers.settings import Settings

    Followers = Callable[[str], Sequence[Follower]]  # of a kind
    Beside = Callable[[Shard, BesideStores], Sequence[Actor]]

WRITE_BUFFER_BYTES: Final = 32 << 20


class ReadingActor:
    """A reading shard, and what works beside it on the same partition."""

    def __init__(self, shard: Shard, beside: Sequence[Actor]) -> None:
        """Take the shard and the other actors, which end before it does."""
        self.shard: Final = shard
        self._beside = beside

    def deliver(self, delivery: Delivery) -> None:
        """Take what a fetch brought."""
        self.shard.deliver(delivery)

    async def run(self) -> None:
        """Run all until cancelled."""
        await asyncio.gather(self.shard.run(), self.shard.sweep(), *(actor.run() for actor in self._beside))

    async def suspend(self) -> None:
        """Suspend what works beside the shard, which itself writes nothing that anybody else could."""
        await asyncio.gather(*(actor.suspend() for actor in self._beside))

    def resume(self) -> None:
        """Go on after a rebalance that left the partition here."""
        self.shard.go_on()
        for actor in self._beside:
            actor.resume()

    async def close(self) -> None:
        """Close all, the shard last."""
        await asyncio.gather(*(actor.close() for actor in self._beside))
        await self.shard.close()


class ReadingShards:
    """All reading shards of a group's member (the `Reading` port, and the `Wiring` of its `partitions`)."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaClient,
        deciders: Mapping[str, Decider[Any]],
        counts: Mapping[str, int],
        sources: Sources,
        metrics: ReadingMetrics,
        clock: SystemClock,
        *,
        followers: Followers,
        ask_rows: AskRows | None,
        beside: Beside,
    ) -> None:
        """Take the settings, a client that all shards ask, the deciders, each kind's number of partitions, and so on.

        followers: of a kind, beside the event index and the states; ask_rows: the question to their rows; beside: what
        works beside a shard, on its partition, given also what opens stores beside the shard's.
        """
        self._settings = settings
        self._client = client
        self._deciders = deciders
        self._counts = counts
        self._sources = sources
        self._metrics = metrics
        self._clock = clock
        self._followers = followers
        self._ask_rows = ask_rows
        self._beside = beside
        self._policies = snapshot_policies(settings.read_snapshots)
        self._recent = RecentStates(settings.read_state_cache_bytes)
        self._turns = asyncio.Semaphore(1)
        self._names = TopicNames(settings.topic_prefix)
        every = sum(counts[kind] for kind in deciders)
        files = raise_limit(every)
        self._budget = StoreBudget(settings.read_cache_bytes, WRITE_BUFFER_BYTES, tables(files, every))
        kinds = {self._names.events(kind): kind for kind in deciders}
        self.partitions_here: Final[Partitions[ReadingActor]] = Partitions(kinds, self, files, "reading shards")

    def shard(self, kind: str, partition: int) -> Shard | None:
        """Return a shard; None if it is not here."""
        actor = self.partitions_here.get((kind, partition))
        return None if actor is None else actor.shard

    def all(self) -> Sequence[Shard]:
        """Return the shards that are here."""
        return [actor.shard for actor in self.partitions_here.all()]

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind has."""
        return self._counts[kind]

    def topics(self) -> list[str]:
        """Return the topics of all journals."""
        return [self._names.events(kind) for kind in self._deciders]

    def where(self, shard: Shard) -> TopicPartition:
        """Return the journal partition of a shard."""
        return TopicPartition(self._names.events(shard.kind), shard.partition)

    def open(self, key: Key) -> ReadingActor:
        """Return the actor of a partition."""
        kind, partition = key
        settings, topic, count = self._settings, self._names.events(kind), self._counts[kind]
        stores = ReadingStoreFolder(
            Path(settings.data_dir) / self._names.group(settings.app_id),
            reading_identity(kind, partition, count, topic),
            self._budget,
            settings.store_compression,
        )
        shard = Shard(
            self._deciders[kind],
            partition,
            count,
            stores,
            KafkaJournalPartition(self._client, topic, partition),
            self._sources.source(topic, partition),
            self._clock,
            ReadingShardMetrics(self._metrics, kind),
            self._followers(kind),
            self._ask_rows,
            self._policies.get(kind, self._policies[""]),
            self._recent,
            self._turns,
            Losses(
                kind,
                partition,
                KafkaRangedJournal(self._client, topic, partition),
                KafkaAcknowledged(
                    self._client, self._names.group(settings.app_id), (self._names.commands(kind), partition)
                ),
            ),
        )
        return ReadingActor(shard, self._beside(shard, stores))

    def closed(self, key: Key, actor: ReadingActor) -> None:
        """Forget the gauges of a partition that is somebody else's now."""
        del actor
        self._metrics.forget(*key)

    def problem(self, key: Key, actor: ReadingActor) -> str | None:
        """Return why a shard does not follow its journal. That it is behind is no reason."""
        status = actor.shard.status()
        kind, partition = key
        return None if status.phase == READING else f"{kind}-{partition} is {status.phase}: {status.reason}"


class CurrentShards:
    """The reading shards of the present membership (the `Reading` port), of which there are none before the first."""

    def __init__(self) -> None:
        """Begin with none."""
        self.current: ReadingShards | None = None

    def shard(self, kind: str, partition: int) -> ReadingShard | None:
        """Return a shard; None if it is not here."""
        return None if self.current is None else self.current.shard(kind, partition)

    def all(self) -> Sequence[ReadingShard]:
        """Return the shards that are here."""
        return () if self.current is None else self.current.all()

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind has.

        Raises:
            NotReadyError: the topics have not been seen yet.
        """
        if self.current is None:
            raise NotReadyError("the brokers have not been asked yet how many partitions there are")
        return self.current.partitions(kind)
