"""Writes to a compacted topic that every process follows: one administrator at a time.

A change fences the topic's other writers. It is one transaction, with the first progress of what the change starts.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import FencedError, UncertainError, UnreachableError
from annals.agents.publishing.administration import Refused
from annals.schemas.progress import encode_progress, progress_key
from annals.topics.catalog import PROGRESS_TOPIC_BYTES, SUBSCRIPTION_TOPIC_BYTES
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.clock import loop_time
from annals.workers.kafka.connections import partitions_of
from annals.workers.kafka.read.settled_ends import OpenTransactionError
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames
    from annals.workers.kafka.write.batches import RecordBatch


A = TypeVar("A")
W = TypeVar("W", bound="FollowedTopicWriter")

CHANGED_WITHIN_S: Final = 1.0  # else it is begun anew: readers might no longer wait for it
ATTEMPTS: Final = 2
NO_HEADERS: Final = encode_headers([])


class Answered(NamedTuple):
    """What a record of the topic is about, as it is answered.

    etag: of the record, without quotes; 0: there is none. is_new: it was made by this request.
    """

    body: dict[str, Any]
    etag: str
    is_new: bool = False


class AnnouncingWriter(TransactionalWriter):
    """Asks what to write once something of it is written: who reads the topic waits for its transaction from then on.

    further: makes the last batches of the next transaction, in place of none.
    """

    further: Callable[[], Awaitable[Mapping[TopicPartition, Sequence[RecordBatch]]]] | None = None

    async def _produce(
        self,
        producer: int,
        batches: Mapping[TopicPartition, Sequence[RecordBatch]],
        journal: Collection[TopicPartition],
    ) -> dict[TopicPartition, list[int]]:
        produced = await super()._produce(producer, batches, journal)
        further, self.further = self.further, None
        return produced if further is None else await super()._produce(producer, await further(), journal)


class FollowedTopicWriter:
    """One writing of the topic: fence, then commit."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, topic: str, group: str) -> None:
        """Take aiokafka client options, the topic, and the group that the transaction names."""
        self._names = names
        self._group = group
        self._where = TopicPartition(topic, 0)
        self._writer = AnnouncingWriter(options, topic_transactional_id(topic), [topic, names.progress])

    async def fence(self) -> AIOKafkaClient:
        """Become the only writer, and return the connected client.

        Raises:
            MissingTopicError: the topic is not there, or that of progress.
        """
        client = await self._writer.connected()
        for topic in (self._where.topic, self._names.progress):
            partitions_of(client, topic)
        await self._writer.fence()
        return client

    async def commit_with(
        self,
        key: bytes,
        value: bytes,
        begins: Iterable[tuple[str, str, int, Progress]],
        further: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        """Write a record, and the progress of what begins, in one transaction.

        begins: who begins, in which events topic and in which partition of it, and where. further: makes the value that
        is to hold, once one is written: readers who ask what is current wait for the transaction from then on.

        Raises:
            Refused: the topic does not take so large a record (422); nothing was begun.
            UncertainError: it took longer than readers wait; or as of `TransactionalWriter.commit`.
        """
        client = await self._writer.connected()
        count = partitions_of(client, self._names.progress)
        batches = {self._where: self._record(key, value)}
        for name, events_topic, partition, progress in begins:
            where = TopicPartition(self._names.progress, partition % count)
            records = batches.setdefault(where, PartitionBatches(PROGRESS_TOPIC_BYTES))
            of_partition = progress_key(name, events_topic, partition)
            records.add(of_partition, encode_progress(progress), NO_TIMESTAMP, NO_HEADERS)
        if further is not None:
            self._writer.further = partial(self._further, key, further)
        began = loop_time()

        def check(_: Mapping[TopicPartition, Sequence[int]]) -> str:
            if loop_time() - began > CHANGED_WITHIN_S:
                raise UncertainError(f"the change took longer than {CHANGED_WITHIN_S:g} s")
            return ""

        offsets = Offsets(self._group, *self._where, 0, "" if further is None else check)
        try:
            await self._writer.commit({where: each.batches for where, each in batches.items()}, offsets, {})
        except UncertainError:
            if further is not None:
                with suppress(KafkaError, OSError, TimeoutError):
                    await self._writer.fence()  # what is open ends now, and nobody waits for it
            raise

    async def _further(
        self, key: bytes, value: Callable[[], Awaitable[bytes]]
    ) -> dict[TopicPartition, Sequence[RecordBatch]]:
        return {self._where: self._record(key, await value()).batches}

    def _record(self, key: bytes, value: bytes) -> PartitionBatches:
        record = PartitionBatches(SUBSCRIPTION_TOPIC_BYTES)
        if needed := record.add(key, value, NO_TIMESTAMP, NO_HEADERS):
            raise Refused(422, "too_large", f"a record of {needed:,} bytes is more than {self._where.topic} takes")
        return record

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()


async def changed_by(make: Callable[[], W], change: Callable[[W], Awaitable[A]]) -> A:
    """Make a change as the only writer, and return its result. Fenced by another writer, it is tried once more.

    Raises:
        Refused: the change may not have been made (503).
    """
    for attempt in range(ATTEMPTS):
        writer = make()
        try:
            return await change(writer)
        except (FencedError, UncertainError, UnreachableError) as error:
            if attempt == ATTEMPTS - 1 or isinstance(error, OpenTransactionError):
                raise Refused(503, "not_ready", f"the change may not have been made: {error}") from error
        finally:
            await writer.close()
    raise AssertionError  # the last attempt returns or raises
