"""The writers of one journal partition's records for subscribers (the `PublishLog` port)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog
from aiokafka.structs import TopicPartition

from annals.agents.ports import LostEndError, UnreachableError
from annals.agents.publishing.ports import TargetError
from annals.agents.publishing.records import encoded
from annals.schemas.progress import LIVE, encode_progress, progress_key
from annals.topics.catalog import PROGRESS_TOPIC_BYTES, SUBSCRIBER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.topics.names import publisher_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import partitions_soon
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.read.settled_ends import settled_end
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.failures import reaching
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.progress_read import ProgressRead
from annals.workers.publishing.reached import PartitionLostEndError, Reached, progress_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.publishing.ports import Writes
    from annals.agents.publishing.records import Outgoing
    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.kafka.write.batches import RecordBatch
    from annals.workers.publishing.reached import IsOurs

    Bases = Mapping[TopicPartition, Sequence[int]]

log = structlog.get_logger(__name__)

NO_HEADERS: Final = encode_headers([])
PROGRESS: Final = "progress"
CHANGED: Final = "changed"  # the last transaction of what is live that began, moved or ended the progress of others


class KafkaPublishLog:
    """One transactional writer; name: of the subscription that catches up, None for what is live."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        journal: TopicPartition,
        partitions: int,
        group: str,
        name: str | None,
        codec: str,
        reached: Reached,
        invalid: InvalidRecords = PASSED_OVER,
        read: ProgressRead | None = None,
    ) -> None:
        """Take aiokafka client options, the journal partition, of how many it is one, and the group of its offsets.

        reached: of each partition that was written, the offset behind the last record: shared by a partition's writers.
        invalid: takes note of records that are none. read: the progress as it was read before, by any of these writers.
        """
        topic, partition = journal
        self._names = names
        self._journal = journal
        self._partitions = partitions
        self._group = group
        self._codec = codec
        self._reached = reached
        self._invalid = invalid
        self._read = read or ProgressRead(journal, invalid)
        self._writer = TransactionalWriter(options, publisher_id(topic, partition, name), [names.progress, topic])
        self._named: dict[str, TopicPartition] = {}
        self._name = name

    async def fence(self) -> None:
        """Become the only writer under this id."""
        with reaching("the transaction coordinator"):
            await self._writer.fence()

    async def progress(self, *, is_settled: bool = True) -> dict[str, Progress]:
        """Return the newest progress in this journal partition by name."""
        with reaching("progress"):
            client = await self._writer.connected()
            where = await self._progress_partition()
            known = await self._require_progress(client, where) if is_settled else None
            end = await settled_end(client, where) if is_settled else (await bounds(client, [where]))[where][1]
            found = await self._read.until(client, where, end)
        if self._name is None and known is not None and (LIVE not in found or found[LIVE].position < known):
            there = found[LIVE].position if LIVE in found else "none"
            raise PartitionLostEndError(
                f"{where.topic}-{where.partition} has the progress {there} of "
                f"{self._journal.topic}-{self._journal.partition}, and it was {known} before. {self._remedy()}",
                end,
                where,
            )
        return found

    async def answers_end(self, names: Collection[str]) -> dict[str, int]:
        """Return where the answers to subscriptions end in this partition."""
        partition = self._journal.partition
        topics = {name: self._names.acks(name) for name in names}
        with reaching("acknowledgements"):
            client = await self._writer.connected()
            known = client.cluster.partitions_for_topic
            if missing := [topic for topic in topics.values() if known(topic) is None]:
                for topic in missing:
                    client.add_topic(topic)
                await client.force_metadata_update()
            there = {
                name: TopicPartition(topic, partition)
                for name, topic in topics.items()
                if partition in (known(topic) or ())
            }
            ends = await list_offsets(client, LAST_STABLE, LAST, there.values())
        return {name: ends[where] for name, where in there.items()}

    async def _require_progress(self, client: AIOKafkaClient, where: TopicPartition) -> int | None:
        """See that the topic of progress still has what this writer wrote; return the group's offset.

        Other journals' writers and those of subscriptions write to the same partition. What is live may have gone on
        behind a loss that they had grown over: then the last record is there, and what changed others' progress is not.
        """
        name = self._name or LIVE
        ours = {PROGRESS: progress_of(name, self._journal, at_offset=True)}
        if self._name is None:
            ours[CHANGED] = progress_of(name, self._journal, at_offset=False)
        return await self._require_reached(client, where, ours)

    async def _require_reached(
        self, client: AIOKafkaClient, where: TopicPartition, ours: Mapping[str, IsOurs], incarnation: int | None = None
    ) -> int | None:
        """See that a partition still has what the group's offset names by some words; return that offset.

        ours: what tells this writer's records, by word.

        Raises:
            TargetError: it has not, and a subscription of its own cannot go on.
            StoppedError: it has not, and nothing can.
        """
        named = dict.fromkeys(ours, where)
        self._named |= named
        try:
            return await self._reached.require(client, self._group, self._journal, named, incarnation, ours)
        except PartitionLostEndError as error:
            message = f"{error}. {self._remedy()}"
            if self._name is None:
                raise PartitionLostEndError(message, error.end, error.where) from error
            raise TargetError(self._name, message) from error

    def _remedy(self) -> str:
        """Return what to do where what tells how far it is was lost."""
        lost_it = "It lost its end, was emptied or made anew: what was published would be published again. Restore it"
        if self._name is None:
            return (
                f"{lost_it}; or, to have every subscription begin where it began, delete the topic of progress and "
                f"the group {self._group}."
            )
        return f"{lost_it}; or, to go on with what is there, delete the group {self._group}. Then resume it."

    async def commit(self, writes: Writes) -> None:
        """Write it all in one transaction."""
        with reaching("the brokers"):
            batches = await self._batches(writes)
            progress = PartitionBatches(PROGRESS_TOPIC_BYTES, self._codec)
            own = self._name or LIVE  # last: the group's offset names the last record
            for name, each in sorted(writes.progress.items(), key=lambda of: of[0] == own):
                value = None if each is None else encode_progress(each)
                progress.add(progress_key(name, *self._journal), value, NO_TIMESTAMP, NO_HEADERS)
            batches[await self._progress_partition()] = progress.batches
        incarnation = (
            0 if self._name is None else max((each.incarnation for each in writes.progress.values() if each), default=0)
        )
        unchanged = () if len(writes.progress) > 1 else (CHANGED,)
        checked = self._checked(batches, incarnation, unchanged)
        offsets = Offsets(self._group, *self._journal, writes.position, checked)
        try:
            await self._writer.commit(batches, offsets, {})
        except LostEndError as error:
            owners = {self._names.subscribers(name): name for name in writes.records}
            await self._after_lost_end(error, owners.get, "published")

    def throttled_s(self) -> float:
        """Return for how many seconds the brokers ask for nothing more to be written."""
        return self._writer.throttled_s

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()

    def _checked(
        self,
        batches: Mapping[TopicPartition, Sequence[RecordBatch]],
        incarnation: int = 0,
        unchanged: Collection[str] = (),
    ) -> Callable[[Bases], str]:
        """Return what looks where batches were put, and names in the metadata what the next owner is to find."""
        return self._reached.checked(batches, self._named, incarnation, unchanged)

    async def _after_lost_end(self, error: LostEndError, owner_of: Callable[[str], str | None], done: str) -> NoReturn:
        """Take the transaction back, and say whose topic it is; without progress nothing at all can be published.

        owner_of: returns the subscription of a topic, None if it is of all. done: what was done to what is gone.

        Raises:
            TargetError: it is a subscription's topic.
            StoppedError: it is the topic of progress, or another one of all.
        """
        if not isinstance(error, PartitionLostEndError):
            raise error
        await self.fence()
        name = owner_of(error.where.topic)
        if name is None:
            raise error
        self._reached[error.where] = error.end
        message = f"{error}: it lost its end, or was made anew, and what was {done} there is gone"
        raise TargetError(name, message) from error

    async def _batches(self, writes: Writes) -> dict[TopicPartition, Sequence[RecordBatch]]:
        """Return the batches of all subscribers' topics; those that get the same records share what is made of them."""
        batches: dict[TopicPartition, Sequence[RecordBatch]] = {}
        made: dict[tuple[int, ...], dict[int, PartitionBatches]] = {}
        for name, outgoing in writes.records.items():
            topic = self._names.subscribers(name)
            partitions = await self._partitions_of(topic)
            if not partitions:
                raise TargetError(name, f"the topic {topic} is not there: make it by putting the subscription again")
            same = min(partitions, self._partitions), *map(id, outgoing)
            if same not in made:
                made[same] = self._by_partition(name, topic, partitions, outgoing)
            batches |= {TopicPartition(topic, partition): each.batches for partition, each in made[same].items()}
        return batches

    def _by_partition(
        self, name: str, topic: str, count: int, outgoing: Sequence[Outgoing]
    ) -> dict[int, PartitionBatches]:
        """Return records by their partition of a subscriber's topic, which has so many.

        None goes where the journal has no partition: an aggregate that moved there would be out of order.
        """
        count = min(count, self._partitions)
        placed: dict[int, list[Outgoing]] = {}
        for each in outgoing:
            placed.setdefault(partition_of(each.key, count), []).append(each)
        return {partition: self._filled(name, topic, records) for partition, records in placed.items()}

    def _filled(self, name: str, topic: str, outgoing: Sequence[Outgoing]) -> PartitionBatches:
        """Return records as batches of one partition of a subscription's topic."""
        batches = PartitionBatches(SUBSCRIBER_TOPIC_BYTES, self._codec)
        records = [(each.key, each.value, NO_TIMESTAMP, encoded(each.headers)) for each in outgoing]
        if needed := batches.add_each(records):
            raise TargetError(name, f"an event of {needed:,} bytes as it is published is more than {topic} takes")
        return batches

    async def _progress_partition(self) -> TopicPartition:
        if PROGRESS not in self._named:
            topic = self._names.progress
            partitions = await self._partitions_of(topic)
            if not partitions:
                raise UnreachableError(f"there is no topic {topic}: create it with `annals topics create`")
            self._named[PROGRESS] = TopicPartition(topic, self._journal.partition % partitions)
        return self._named[PROGRESS]

    async def _partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 if it is not there."""
        return await partitions_soon(await self._writer.connected(), topic)


class KafkaPublishLogs:
    """Makes the writers of one journal partition (the `PublishLogs` port)."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        app_id: str,
        kind: str,
        partition: int,
        partitions: int,
        codec: str,
        invalid: InvalidRecords = PASSED_OVER,
    ) -> None:
        """Take aiokafka client options, which partition of how many of a kind this is, and so on."""
        self._options = options
        self._names = names
        self._app_id = app_id
        self._kind = kind
        self._journal = TopicPartition(names.events(kind), partition)
        self._partitions = partitions
        self._codec = codec
        self.reached = Reached()
        self._invalid = invalid
        self._read = ProgressRead(self._journal, invalid)

    def live(self) -> KafkaPublishLog:
        """Return the writer of what is live."""
        return self._log(None)

    def catching_up(self, name: str) -> KafkaPublishLog:
        """Return the writer of one subscription that catches up."""
        return self._log(name)

    def forget(self, name: str) -> None:
        """Forget how far the topic of a subscription reached: it is begun anew."""
        self.reached.forget({self._names.subscribers(name)})

    def _log(self, name: str | None) -> KafkaPublishLog:
        group = self._names.publishing_group(self._app_id, name)
        return KafkaPublishLog(
            self._options,
            self._names,
            self._journal,
            self._partitions,
            group,
            name,
            self._codec,
            self.reached,
            self._invalid,
            self._read,
        )
