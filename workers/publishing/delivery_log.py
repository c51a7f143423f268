"""The writer of one subscription that answers, in one journal partition (the `DeliveryLog` port)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.ports import LostEndError, UnreachableError
from annals.agents.publishing.delivering.ports import AckRecord, AckRun, DeadAck
from annals.agents.publishing.ports import TargetError
from annals.schemas.delivery import encode_row
from annals.schemas.progress import encode_progress, progress_key
from annals.schemas.wire.dead_letter import BAD_ACK
from annals.topics.catalog import (
    DEAD_LETTER_TOPIC_BYTES,
    DELIVERY_TOPIC_BYTES,
    PROGRESS_TOPIC_BYTES,
    SUBSCRIBER_TOPIC_BYTES,
)
from annals.topics.encoded_headers import EncodedHeaders
from annals.topics.headers import dead_letter_headers, forwarded_headers
from annals.topics.keys import partition_of
from annals.topics.wire import NO_TIMESTAMP, encode_headers, signed_at
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.ranges import NextRecords, RangeGoneError, bounds
from annals.workers.kafka.read.settled_ends import settled_end
from annals.workers.kafka.write.batches import BATCH_HEADER_BYTES, PartitionBatches, measured
from annals.workers.kafka.write.failures import reaching
from annals.workers.kafka.write.transaction import Offsets
from annals.workers.publishing.delivery_rows import is_row_of, read_unsettled, rows_between
from annals.workers.publishing.log import (
    NO_HEADERS,
    KafkaPublishLog,
    KafkaPublishLogs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.publishing.delivering.ports import DeliveryWrites, Unsettled
    from annals.schemas.delivery import Row
    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.kafka.read.ranges import Next
    from annals.workers.publishing.progress_read import ProgressRead
    from annals.workers.publishing.reached import Reached


ROWS: Final = "rows"
KEPT_BYTES: Final = 1 << 20  # of a dead letter that is cut
KEPT_KEY_BYTES: Final = 64 << 10


class KafkaDeliveryLog(KafkaPublishLog):
    """Reads and writes the topics of one subscription for one journal partition."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        journal: TopicPartition,
        partitions: int,
        group: str,
        name: str,
        codec: str,
        reached: Reached,
        kind: str,
        invalid: InvalidRecords = PASSED_OVER,
        read: ProgressRead | None = None,
    ) -> None:
        """Take what a writer needs, and the kind of the journal."""
        super().__init__(options, names, journal, partitions, group, name, codec, reached, invalid, read)
        self._name: str = name
        self._kind = kind
        self._answers = NextRecords()

    async def own_progress(self) -> Progress | None:
        """Return how far the subscription is; None if nobody has written it."""
        return (await self.progress()).get(self._name)

    async def unsettled(self, incarnation: int) -> Unsettled:
        """Return what is not settled in this journal partition."""
        with reaching("deliveries"):
            where = await self._here(self._names.deliveries(self._name))
            client = await self._writer.connected()
            await self._require_rows(client, where, incarnation)
            return await read_unsettled(client, where, self._kind, incarnation, self._invalid)

    async def rows_since(self, offset: int, take: Callable[[bytes, Row | None], object], incarnation: int) -> int:
        """Give the records of rows that were committed from an offset on, of all kinds, and return where they end.

        That is where no transaction is open any more: behind a fence nobody else writes rows of this journal partition.
        incarnation: of the subscription now.

        Raises:
            TargetError: the topic is not there, or has lost what was acknowledged: to write to it would hide that.
            UnreachableError: the brokers do not answer.
        """
        with reaching("deliveries"):
            where = await self._here(self._names.deliveries(self._name))
            client = await self._writer.connected()
            await self._require_rows(client, where, incarnation)
            end = await settled_end(client, where)
            async for _, key, row in rows_between(client, where, offset, end, self._invalid):
                take(key, row)
            return end

    async def _require_rows(self, client: AIOKafkaClient, where: TopicPartition, incarnation: int) -> None:
        """See that the rows that the group's offset names are there; raises as `_require_reached`."""
        await self._require_reached(client, where, {ROWS: partial(is_row_of, self._kind)}, incarnation)

    async def acks(self, offset: int, limit: int) -> AckRun:
        """Return the answers that are there, from an offset on: mostly by one request."""
        with reaching("acknowledgements"):
            where = await self._here(self._names.acks(self._name))
            client = await self._writer.connected()
            try:
                run = await self._acks_from(client, where, offset, limit)
            except RangeGoneError as error:
                raise UnreachableError(str(error)) from error
        found = []
        for at, key, value, section in run.records:
            count, begin = signed_at(section, 0)
            found.append(AckRecord(at, key, value, EncodedHeaders(count, section[begin:])))
        return AckRun(found, run.next_offset, is_end=run.is_end)

    async def _acks_from(self, client: AIOKafkaClient, where: TopicPartition, offset: int, limit: int) -> Next:
        try:
            return await self._answers.read(client, where, offset, limit)
        except RangeGoneError:  # the topic was made anew, or does not keep any longer what is so old
            first, end = (await bounds(client, [where]))[where]
            return await self._answers.read(client, where, offset if offset == end else first, limit)

    async def deliver(self, writes: DeliveryWrites) -> None:
        """Write it all in one transaction."""
        with reaching("the brokers"):
            batches = await self._delivery_batches(writes)
        written = {where: each.batches for where, each in batches.items()}
        checked = self._checked(written, writes.progress.incarnation)
        offsets = Offsets(self._group, *self._journal, writes.progress.position, checked)
        try:
            await self._writer.commit(written, offsets, {})
        except LostEndError as error:
            of_all = (self._names.progress, self._names.dead_letters)
            await self._after_lost_end(error, lambda topic: None if topic in of_all else self._name, "written")

    async def _delivery_batches(self, writes: DeliveryWrites) -> dict[TopicPartition, PartitionBatches]:
        names, name = self._names, self._name
        batches: dict[TopicPartition, PartitionBatches] = {}
        if writes.records:
            topic = names.subscribers(name)
            made = self._by_partition(name, topic, await self._count(topic), writes.records)
            batches |= {TopicPartition(topic, partition): each for partition, each in made.items()}
        if writes.parked:  # beside its row, whatever its key: there it is looked for
            batches[await self._here(names.parked(name))] = self._filled(name, names.parked(name), writes.parked)
        if writes.rows:
            where = self._named[ROWS] = await self._here(names.deliveries(name))
            rows = batches[where] = PartitionBatches(DELIVERY_TOPIC_BYTES)
            for key, row in writes.rows.items():
                value = None if row is None else encode_row(row)
                if rows.add(key.encode(), value, NO_TIMESTAMP, NO_HEADERS):
                    raise TargetError(name, f"a row is more than {names.deliveries(name)} takes: {key[:200]}")
        dead = list(writes.dead)
        for record in writes.moved:
            topic = names.acks(name)
            # Of its partitions that are more than the journal's none is read.
            where = TopicPartition(topic, partition_of(record.key or b"", self._partitions))
            headers = encode_headers(forwarded_headers(record.headers, self._journal.partition, record.offset))
            if BATCH_HEADER_BYTES + measured(record.key, record.value, 0, headers) > SUBSCRIBER_TOPIC_BYTES:
                dead.append(DeadAck(record, f"with its origin it is larger than {topic} takes"))
                continue
            moved = batches.setdefault(where, PartitionBatches(SUBSCRIBER_TOPIC_BYTES))
            moved.add(record.key, record.value, NO_TIMESTAMP, headers)
        for letter in dead:
            letters = batches.setdefault(
                TopicPartition(names.dead_letters, 0), PartitionBatches(DEAD_LETTER_TOPIC_BYTES)
            )
            self._add_letter(letters, letter, writes.at)
        progress = batches[await self._progress_partition()] = PartitionBatches(PROGRESS_TOPIC_BYTES)
        value = encode_progress(writes.progress)
        progress.add(progress_key(name, *self._journal), value, NO_TIMESTAMP, NO_HEADERS)
        return batches

    def _add_letter(self, letters: PartitionBatches, dead: DeadAck, at: int) -> None:
        """Add a dead letter; of one that is more than the topic takes, what it takes for certain."""
        record, message = dead
        acks = self._names.acks(self._name), self._journal.partition, record.offset
        headers = dead_letter_headers(record.headers, BAD_ACK, message, *acks, at)
        if letters.add(record.key, record.value, NO_TIMESTAMP, encode_headers(headers)):
            # As large as its own topic takes, or larger unpacked: the topic of dead letters has no room for why, too.
            key = record.key if len(record.key or b"") <= KEPT_KEY_BYTES else None
            value = None if record.value is None else record.value[:KEPT_BYTES]
            headers = dead_letter_headers((), BAD_ACK, f"{message}; it is too large, and was cut", *acks, at)
            letters.add(key, value, NO_TIMESTAMP, encode_headers(headers))

    async def _count(self, topic: str) -> int:
        """Return how many partitions a topic of the subscription has.

        Raises:
            TargetError: it is not there.
        """
        count = await self._partitions_of(topic)
        if not count:
            raise TargetError(self._name, f"the topic {topic} is not there: make it by putting the subscription again")
        return count

    async def _here(self, topic: str) -> TopicPartition:
        """Return the partition that goes with the journal's.

        Raises:
            TargetError: it is not there.
        """
        if (count := await self._count(topic)) <= self._journal.partition:
            raise TargetError(
                self._name, f"{topic} has {count} partitions, and the journal more: add as many to the topic"
            )
        return TopicPartition(topic, self._journal.partition)


class KafkaDeliveryLogs(KafkaPublishLogs):
    """Makes the writers of one journal partition, those of subscriptions that answer among them."""

    def delivering(self, name: str) -> KafkaDeliveryLog:
        """Return the writer of one subscription that answers."""
        self._invalid.expect(self._names.deliveries(name))
        return KafkaDeliveryLog(
            self._options,
            self._names,
            self._journal,
            self._partitions,
            self._names.publishing_group(self._app_id, name),
            name,
            self._codec,
            self.reached,
            self._kind,
            self._invalid,
            self._read,
        )

    def forget(self, name: str) -> None:
        """Forget how far the topics of a subscription reached: they are begun anew."""
        super().forget(name)
        topics = {self._names.acks(name), self._names.parked(name), self._names.deliveries(name)}
        self.reached.forget(topics)
