"""The re-keyed projections of a process: what copies their events beside each journal partition, and their shards.

Whoever has partition p of n of the journal folds the partitions p, p + n … of the stream, as with re-keyed reactions.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import JournalError
from annals.agents.reacting.reactor import CLOSED, Reactor
from annals.agents.reacting.rekeyed import AlwaysActive
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.streams.rekeyed import RekeyedStream
from annals.agents.reading.streams.rekeyed_shard import RekeyedShard
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import partitions_soon
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.write.failures import reaching
from annals.workers.reacting.rekeyed import KafkaHorizon, KafkaRekeyingLog
from annals.workers.reacting.topic_reactors import TopicReactors
from annals.workers.rekeying.stream_partition import WHAT, KafkaStreamPartition
from annals.workers.rekeying.telemetry import CopierMetrics, StreamMetrics
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity
from annals.workers.stores.rocks import StoreBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.event_keys import Rekeyed
    from annals.agents.folding.damage import DamageCounter
    from annals.agents.ports import Clock
    from annals.agents.reading.ports import JournalPartition, JournalSource
    from annals.agents.reading.read_models.read_models import ReadModels
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.partitions import Actor, Key
    from annals.workers.rekeying.telemetry import RekeyingProjectionMetrics
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
CACHE_BYTES: Final = 8 << 20  # of all their stores
ACTIVE: Final = AlwaysActive()


class StreamActor:
    """A shard of a stream as what works beside a journal partition."""

    def __init__(self, shard: RekeyedShard, on_closed: Callable[[RekeyedShard], None]) -> None:
        """Take the shard, and who is told when it is closed."""
        self.shard: Final = shard
        self._on_closed = on_closed

    @property
    def problem(self) -> str | None:
        """Why it does not fold, where that is to be mended here."""
        return self.shard.problem

    async def run(self) -> None:
        """Fold until cancelled."""
        await self.shard.run()

    async def suspend(self) -> None:
        """Go on: it writes nothing that anybody else could."""

    def resume(self) -> None:
        """Go on."""

    async def close(self) -> None:
        """Close the store."""
        self._on_closed(self.shard)
        await self.shard.close()


class RekeyedProjections:
    """All of them in one process. `run` finds out how many partitions the streams have, which all that ask need."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaClient,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        partitions: Mapping[str, int],
        models: ReadModels,
        on_found: Callable[[str, int], None],
        damages: Callable[[str], DamageCounter],
        clock: Clock,
        metrics: RekeyingProjectionMetrics,
        invalid: InvalidRecords = PASSED_OVER,
    ) -> None:
        """Take the settings, a client to ask with, aiokafka client options, each kind's partitions, and so on.

        on_found: takes the place of each stream once it is found, and how many partitions it has. damages: of a place's
        stores.
        """
        self._settings = settings
        self._client = client
        self._options = options
        self._deciders = deciders
        self._journals = partitions
        self._models = models
        self._on_found = on_found
        self._budget = StoreBudget(CACHE_BYTES, CACHE_BYTES)
        self._damages = damages
        self._clock = clock
        self._metrics = metrics
        self._invalid = invalid
        self._names = TopicNames(settings.topic_prefix)
        known = [versions[-1].stream for versions in models.projections.values()]
        self._streams = {stream.place: stream for stream in known if stream is not None and stream.kind in deciders}
        self._counts: dict[str, int] = {}
        self._shards: dict[Key, RekeyedShard] = {}
        self._copiers: list[Reactor] = []
        self._topics: list[TopicReactors] = []

    async def run(self) -> None:
        """Find the streams until all are found, or the task is cancelled."""
        await asyncio.gather(*(self._find(stream) for stream in self._streams.values()))

    def beside(self, source: JournalSource, journal: JournalPartition) -> Sequence[Actor]:
        """Return what works beside a reading shard; their `run` is for the caller to start."""
        streams = [stream for stream in self._streams.values() if stream.kind == source.kind]
        copiers = [self._copier(stream, source, journal) for stream in streams]
        folding = [self._folding(stream, source.partition) for stream in streams]
        self._copiers = [*(each for each in self._copiers if each.phase != CLOSED), *copiers]
        self._topics = [*(each for each in self._topics if not each.is_closed), *folding]
        return [*copiers, *folding]

    def shard(self, place: str, partition: int) -> RekeyedShard | None:
        """Return the shard of a stream's partition; None if it is not here."""
        return self._shards.get((place, partition))

    def all(self) -> Sequence[RekeyedShard]:
        """Return the shards that are here."""
        return list(self._shards.values())

    def partitions(self, place: str) -> int:
        """Return how many partitions a stream has.

        Raises:
            NotReadyError: its topic was not found yet.
        """
        if place not in self._counts:
            topic = self._names.of_place(place)
            raise NotReadyError(f"the topic {topic} was not found: create it with `annals topics create`")
        return self._counts[place]

    def problems(self) -> list[str]:
        """Return why not all is copied and folded that should be; that something is behind is no reason."""
        found = [*(each.problem for each in self._copiers), *(each.problem for each in self._topics)]
        return [problem for problem in found if problem is not None]

    async def ends_with(self, stream: Rekeyed, partition: int, offset: int) -> Sequence[int] | None:
        """Return offsets of all partitions of a stream below which an event is, once it is copied; None: it is not yet.

        partition, offset: of the event in the journal.

        Raises:
            NotReadyError: the brokers do not answer.
        """
        journal = TopicPartition(self._names.events(stream.kind), partition)
        topic = self._names.rekeyed(stream.name)
        wheres = [TopicPartition(topic, at) for at in range(self.partitions(stream.place))]
        place = self._client, self._names, self._settings.app_id, stream.name
        copied = KafkaHorizon(*place, [journal], wheres[0], self._clock)
        try:
            with reaching("how far the journals are copied"):
                if not await copied.is_copied(journal, offset + 1):
                    return None
                # Transactions that are committed as the group knows may still be open here: behind everything.
                found = await bounds(self._client, wheres, HIGH_WATERMARK)
        except JournalError as error:
            raise NotReadyError(str(error)) from error
        return [end for _, end in found.values()]

    async def _find(self, stream: Rekeyed) -> None:
        topic, is_told = self._names.rekeyed(stream.name), False
        while True:
            try:
                count = await partitions_soon(self._client, topic)
            except (KafkaError, OSError, TimeoutError):  # whoever reads it says so
                count = 0
            if count:
                self._found(stream, count)
                return
            if not is_told:
                is_told = True
                log.warning("a projection has no stream yet", projection=stream.name, topic=topic)
            await asyncio.sleep(LOOK_S)

    def _found(self, stream: Rekeyed, partitions: int) -> None:
        self._counts[stream.place] = partitions
        self._on_found(stream.place, partitions)

    def _copier(self, stream: Rekeyed, source: JournalSource, journal: JournalPartition) -> Reactor:
        """Return what copies the events of a reading shard to a stream."""
        settings, number = self._settings, source.partition
        place = self._options, self._names, stream, number, self._journals[stream.kind], settings.app_id
        return Reactor(
            stream,
            self._deciders[stream.kind],
            source,
            journal,
            partial(KafkaRekeyingLog, *place, self._invalid, codec=settings.compression),
            ACTIVE,
            self._clock,
            CopierMetrics(self._metrics, stream.name, stream.kind, number),
        )

    def _folding(self, stream: Rekeyed, partition: int) -> TopicReactors:
        """Return what folds the partitions of a stream that go with one of the journal's."""
        topic = self._names.rekeyed(stream.name)
        self._invalid.expect(topic)
        return TopicReactors(
            stream,
            partition,
            self._journals[stream.kind],
            topic,
            self._options,
            str,
            partial(self._actor, stream, topic),
            ACTIVE,
            CopierMetrics(self._metrics, stream.name, stream.place, partition),
            WHAT,
        )

    def _actor(self, stream: Rekeyed, topic: str, client: AIOKafkaClient, partition: int, count: int) -> StreamActor:
        self._found(stream, count)
        settings, names = self._settings, self._names
        journal = KafkaStreamPartition(client, topic, partition)
        note = partial(self._invalid.note, TopicPartition(topic, partition))
        shard = RekeyedShard(
            stream,
            self._deciders[stream.kind],
            partition,
            lambda: RekeyedStream(stream, topic, partition, count, journal, self._clock, note),
            journal,
            ReadingStoreFolder(
                Path(settings.data_dir) / names.group(settings.app_id),
                reading_identity(stream.place, partition, count, topic),
                self._budget,
                settings.store_compression,
            ),
            self._clock,
            self._damages(stream.place),
            StreamMetrics(self._metrics, stream.name, partition),
            partial(self._models.followers, stream.place),
            self._models.ask_rows,
        )
        self._shards[stream.place, partition] = shard
        return StreamActor(shard, self._forget)

    def _forget(self, shard: RekeyedShard) -> None:
        where = shard.kind, shard.partition
        if self._shards.get(where) is shard:
            del self._shards[where]
