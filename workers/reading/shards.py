"""The wiring of the reading shards: one for each journal partition that this process has, or is a standby of."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.backoff import run_again
from annals.agents.event_keys import REKEYED
from annals.agents.reading.following.losses import Losses
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.found import READING
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.topics.names import TopicNames
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.open_files import connections, raise_limit, tables
from annals.workers.partitions import NO_STANDBYS, Partitions
from annals.workers.reading.acknowledged import KafkaAcknowledged
from annals.workers.reading.followed import EitherSource, FollowedPartition
from annals.workers.reading.restore_point import KafkaRangedJournal
from annals.workers.reading.standby_consumer import StandbyConsumer
from annals.workers.reading.telemetry import ReadingShardMetrics
from annals.workers.settings.snapshots import snapshot_policies
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity
from annals.workers.stores.rocks import StoreBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Delivery
    from annals.agents.reading.ahead.ports import BesideStores
    from annals.agents.reading.following.answers import AskRows
    from annals.agents.reading.ports import Follower, ReadingShard
    from annals.agents.reading.read_models.read_models import FollowingShard
    from annals.agents.reading.streams.rekeyed_shard import RekeyedShard
    from annals.workers.clock import SystemClock
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.partitions import Actor, Key
    from annals.workers.reading.telemetry import ReadingMetrics
    from annals.workers.settings import Settings

    Followers = Callable[[str], Sequence[Follower]]  # of a kind
    Left = dict[Key, FollowedPartition]
    Beside = Callable[[Shard, BesideStores], Sequence[Actor]]

WRITE_BUFFER_BYTES: Final = 32 << 20


class Streams(Protocol):
    """The shards of re-keyed streams that are here."""

    def shard(self, place: str, partition: int) -> RekeyedShard | None:
        """Return one; None if it is not here. place: `rekeyed.<name>`."""

    def all(self) -> Sequence[RekeyedShard]:
        """Return them."""

    def partitions(self, place: str) -> int:
        """Return how many partitions a stream has.

        Raises:
            NotReadyError: its topic was not found yet.
        """


class ReadingActor:
    """A reading shard of a partition that this process has, and what works beside it on the same partition."""

    def __init__(self, followed: FollowedPartition, beside: Sequence[Actor], left: Left) -> None:
        """Take what follows the journal, the other actors, and where the shard is left when the partition goes."""
        self.shard: Final = followed.shard
        self._followed = followed
        self._beside = beside
        self._left = left

    def deliver(self, delivery: Delivery) -> None:
        """Take what a fetch brought."""
        self.shard.deliver(delivery)

    async def run(self) -> None:
        """Run what works beside the shard until cancelled."""
        await asyncio.gather(self._look(), *(run_again(each.run, type(each).__name__) for each in self._beside))

    async def suspend(self) -> None:
        """Suspend what works beside the shard, which itself writes nothing that anybody else could."""
        await asyncio.gather(*(actor.suspend() for actor in self._beside))

    def resume(self) -> None:
        """Go on after a rebalance that left the partition here."""
        self.shard.go_on()
        for actor in self._beside:
            actor.resume()

    async def close(self) -> None:
        """Close what works beside the shard, and leave the shard: this process may be a standby from now on."""
        await asyncio.gather(*(actor.close() for actor in self._beside))
        self._left[self.shard.kind, self.shard.partition] = self._followed

    async def _look(self) -> None:
        """Ask at once where the journal ends: who takes over has read it before that is known, or is behind."""
        with suppress(KafkaError, OSError, TimeoutError):  # then the watch asks, a second later
            await self.shard.look()


class StandbyActor:
    """A reading shard of a partition that another worker has. It runs by itself, through all rebalances."""

    def __init__(self, followed: FollowedPartition, left: Left) -> None:
        """Take what follows the journal, and where the shard is left when this process is no standby any more."""
        self.followed: Final = followed
        self._left = left

    async def run(self) -> None:
        """Do nothing: the shard runs, and nothing works beside it."""

    async def suspend(self) -> None:
        """Go on: nobody takes it from here what it follows."""

    def resume(self) -> None:
        """Go on."""

    async def close(self) -> None:
        """Leave the shard: this process may have the partition from now on."""
        self._left[self.followed.shard.kind, self.followed.shard.partition] = self.followed


class ReadingPartitions(Partitions[ReadingActor]):
    """The partitions of a member: a shard that it keeps as an owner or as a standby stays open while it becomes so."""

    def __init__(self, kinds: Mapping[str, str], shards: ReadingShards, files: int) -> None:
        """Take each topic's kind, what makes the actors, and how many files may be open."""
        super().__init__(kinds, shards, files, "reading shards", shards.standing)
        self._shards = shards

    async def on_partitions_assigned(
        self, assigned: Iterable[TopicPartition], standby: Mapping[str, Iterable[int]] = NO_STANDBYS
    ) -> None:
        """Take over, stand by, open, and close what is neither this process's nor followed any more."""
        await super().on_partitions_assigned(assigned, standby)
        await self._shards.settle()

    async def close(self) -> None:
        """Close all."""
        await super().close()
        await self._shards.settle()
        await self._shards.standing.consumer.close()


class StandingShards:
    """The standbys of a process (the `StandbyWiring` of its partitions)."""

    def __init__(self, shards: ReadingShards, options: Mapping[str, Any], metrics: ReadingMetrics) -> None:
        """Take what makes shards, aiokafka client options, and the metrics of reading."""
        self._shards = shards
        self._metrics = metrics
        self._followed: dict[Key, FollowedPartition] = {}
        self.consumer: Final = StandbyConsumer(options, self._deliver, self._go_on)

    def get(self, key: Key) -> Shard | None:
        """Return a standby; None if it is not here."""
        followed = self._followed.get(key)
        return None if followed is None else followed.shard

    def all(self) -> list[Shard]:
        """Return the standbys that are here, in order."""
        return [self._followed[key].shard for key in sorted(self._followed)]

    def open(self, key: Key) -> StandbyActor:
        """Return the actor of a standby."""
        followed, is_new = self._shards.followed(key)
        if is_new:
            followed.start(is_standby=True)
        else:
            followed.stand_by()
        self._followed[key] = followed
        return StandbyActor(followed, self._shards.left)

    def closed(self, key: Key, actor: StandbyActor) -> None:
        """Take that this process is no standby of a partition any more."""
        del actor, self._followed[key]
        self._metrics.forget_standby(*key)

    def _deliver(self, delivery: Delivery) -> None:
        shard = self.get(self._shards.key_of(delivery.topic, delivery.partition))
        if shard is not None:  # else it is the owner's by now
            shard.deliver(delivery)

    def _go_on(self) -> None:
        for shard in self.all():
            shard.go_on()


class ReadingShards:
    """All reading shards of a group's member (the `Reading` port, and the `Wiring` of its `partitions`)."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaClient,
        options: Mapping[str, Any],
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
        """Take the settings, a client that all shards ask, aiokafka client options, the deciders, and so on.

        counts: each kind's number of partitions; followers: of a kind, beside the event index and the states; ask_rows:
        the question to their rows; beside: what works beside a shard, on its partition, given also what opens stores
        beside the shard's.
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
        files = raise_limit(every, settings.api_connections)
        self.most_connections: Final = connections(files, every, settings.api_connections)
        of_stores = tables(files - self.most_connections, every)
        self._budget = StoreBudget(settings.read_cache_bytes, WRITE_BUFFER_BYTES, of_stores)
        self._kinds = {self._names.events(kind): kind for kind in deciders}
        self.left: Final[Left] = {}
        self.standing: Final = StandingShards(self, options, metrics)
        self.partitions_here: Final = ReadingPartitions(self._kinds, self, files)

    def shard(self, kind: str, partition: int) -> Shard | None:
        """Return a shard; None if it is not here."""
        actor = self.partitions_here.get((kind, partition))
        return None if actor is None else actor.shard

    def standby(self, kind: str, partition: int) -> Shard | None:
        """Return the standby of a partition that another worker has; None if there is none here."""
        return self.standing.get((kind, partition))

    def all(self) -> Sequence[Shard]:
        """Return the shards that are here, standbys not among them."""
        return [actor.shard for actor in self.partitions_here.all()]

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind has."""
        return self._counts[kind]

    def journals(self) -> list[str]:
        """Return the topics of all journals."""
        return [self._names.events(kind) for kind in self._deciders]

    def where(self, shard: Shard) -> TopicPartition:
        """Return the journal partition of a shard."""
        return TopicPartition(self._names.events(shard.kind), shard.partition)

    def key_of(self, topic: str, partition: int) -> Key:
        """Return the kind and partition of a journal partition."""
        return self._kinds[topic], partition

    def open(self, key: Key) -> ReadingActor:
        """Return the actor of a partition."""
        followed, is_new = self.followed(key)
        if is_new:
            followed.start(is_standby=False)
        else:
            followed.take_over()
        return ReadingActor(followed, self._beside(followed.shard, followed.stores), self.left)

    async def settle(self) -> None:
        """Close the shards that neither owners nor standbys have taken, and fetch what the standbys follow."""
        left = [self.left.pop(key) for key in list(self.left)]
        await asyncio.gather(*(followed.close() for followed in left))
        self.standing.consumer.follow(map(self.where, self.standing.all()))

    def followed(self, key: Key) -> tuple[FollowedPartition, bool]:
        """Return what follows a partition, and whether it is a new one: else it runs, as it was left a moment ago."""
        return (self.left.pop(key), False) if key in self.left else (self._new(key), True)

    def _new(self, key: Key) -> FollowedPartition:
        kind, partition = key
        settings, topic, count = self._settings, self._names.events(kind), self._counts[kind]
        commands = TopicPartition(self._names.commands(kind), partition)
        stores = ReadingStoreFolder(
            Path(settings.data_dir) / self._names.group(settings.app_id),
            reading_identity(kind, partition, count, topic),
            self._budget,
            settings.store_compression,
        )
        source = EitherSource(
            self._sources.source(topic, partition), self.standing.consumer.sources.source(topic, partition)
        )
        shard = Shard(
            self._deciders[kind],
            partition,
            count,
            stores,
            KafkaJournalPartition(self._client, topic, partition),
            source,
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
                KafkaAcknowledged(self._client, self._names.group(settings.app_id), commands),
            ),
        )
        return FollowedPartition(shard, source, stores)

    def closed(self, key: Key, actor: ReadingActor) -> None:
        """Forget the gauges of a partition that is somebody else's now."""
        del actor
        self._metrics.forget(*key)

    def problem(self, key: Key, actor: ReadingActor) -> str | None:
        """Return why a shard does not follow its journal. That it is behind is no reason."""
        status = actor.shard.status()
        kind, partition = key
        is_well = status.phase == READING and not status.reason
        return None if is_well else f"{kind}-{partition} is {status.phase}: {status.reason}"


class FollowedHere:
    """All that follows journals in this process, for those who say which projections are folded."""

    def __init__(self, shards: ReadingShards, streams: Streams) -> None:
        """Take the shards, and those of re-keyed streams."""
        self._shards = shards
        self._streams = streams

    def all(self) -> Sequence[FollowingShard]:
        """Return owners' shards, standbys, and the shards of streams."""
        return [*self._shards.all(), *self._shards.standing.all(), *self._streams.all()]

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind, or a stream, has."""
        return self._streams.partitions(kind) if kind.startswith(REKEYED) else self._shards.partitions(kind)


class CurrentShards:
    """The reading shards of the present membership (the `Reading` port), of which there are none before the first."""

    def __init__(self) -> None:
        """Begin with none."""
        self.current: ReadingShards | None = None
        self.streams: Streams | None = None

    def shard(self, kind: str, partition: int) -> ReadingShard | None:
        """Return a shard, a re-keyed stream's among them; None if it is not here."""
        if kind.startswith(REKEYED):
            return None if self.streams is None else self.streams.shard(kind, partition)
        return None if self.current is None else self.current.shard(kind, partition)

    def standby(self, kind: str, partition: int) -> ReadingShard | None:
        """Return the standby of a partition that another worker has; None if there is none here."""
        return None if self.current is None else self.current.standby(kind, partition)

    def all(self) -> Sequence[ReadingShard]:
        """Return the shards that are here, standbys not among them."""
        return () if self.current is None else self.current.all()

    def most_connections(self, wanted: int) -> int:
        """Return how many clients may be connected: no more than have files beside the shards."""
        return wanted if self.current is None else self.current.most_connections

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind, or a re-keyed stream, has.

        Raises:
            NotReadyError: the topics have not been seen yet.
        """
        if self.current is None or self.streams is None:
            raise NotReadyError("the brokers have not been asked yet how many partitions there are")
        if kind.startswith(REKEYED):
            return self.streams.partitions(kind)
        return self.current.partitions(kind)
