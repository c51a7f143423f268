"""A consumer of a cluster in memory, for partitions that it is assigned by hand: reads what is committed."""

from __future__ import annotations

import asyncio
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest

from annals.workers.kafka.protocol.record_batches import ChecksumError, batches_of, headers_of
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets
from annals.workers.memory.codes import Code
from annals.workers.memory.partition import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Batch
    from annals.workers.memory.client import MemoryClient

FETCH_BYTES: Final = 1 << 20
NO_TIME: Final = 0


class MemoryConsumer:
    """Stands where an `AIOKafkaConsumer` without a group would."""

    def __init__(self, client: MemoryClient) -> None:
        """Take a client of its own."""
        self._client = client
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Connect: nothing is to be done."""

    async def stop(self) -> None:
        """Disconnect: nothing is to be done."""

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions."""
        self._positions = dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition from an offset on."""
        self._positions[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset from which a partition is read on."""
        return self._positions[partition]

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the last stable offsets."""
        return await list_offsets(self._client, LAST_STABLE, LAST, partitions)

    async def getmany(
        self, partition: TopicPartition, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """Return committed records of a partition; none where nothing came within the time, or no answer.

        Raises:
            OffsetOutOfRangeError: the position is not in the partition.
            CorruptRecordException: a batch is damaged.
        """
        del max_records  # a fetch has about as many
        topic, number = partition
        position = self._positions[partition]
        request = FetchRequest(timeout_ms, 1, FETCH_BYTES, LAST_STABLE, [(topic, [(number, position, FETCH_BYTES)])])
        try:
            answer: Any = await self._client.send(0, request)
        except (KafkaError, OSError, TimeoutError):  # aiokafka's fetcher asks again in the background
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        (((_, ((_, code, _, _, aborted, data),)),),) = (answer.topics,)
        if code == Code.OFFSET_OUT_OF_RANGE:
            raise OffsetOutOfRangeError({partition: position})
        try:
            batches = batches_of(data, position, is_checked=True, is_compacted=False)
        except ChecksumError as error:
            raise CorruptRecordException(str(error)) from error
        if not batches:
            return {}
        self._positions[partition] = batches[-1].next_offset
        records = [
            Record(offset, key, value, tuple(headers_of(raw)), NO_TIME)
            for batch in _committed(batches, aborted)
            for offset, key, value, raw in batch.records()
            if offset >= position
        ]
        return {partition: records} if records else {}


def _committed(batches: Iterable[Batch], aborted: Iterable[tuple[int, int]]) -> Iterator[Batch]:
    """Yield the batches that are no markers and that no transaction took back (KIP-98).

    aborted: a producer and the first offset of each transaction that ended so, as the broker says.
    """
    waiting, aborting = sorted(aborted, key=itemgetter(1)), set()
    for batch in batches:
        while waiting and waiting[0][1] <= batch.base_offset:
            aborting.add(waiting.pop(0)[0])
        if not batch.is_control:
            if not (batch.is_transactional and batch.producer_id in aborting):
                yield batch
        elif batch.is_abort():
            aborting.discard(batch.producer_id)
