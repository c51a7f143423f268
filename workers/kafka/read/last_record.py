"""The last record that a reader has seen of a partition, by which a topic that was made anew is told.

Offsets alone do not tell: a new topic may have grown longer than the old one was.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Self

from annals.workers.kafka.read.ranges import RangeGoneError, bounds
from annals.workers.kafka.read.single_record import record_at

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


class LastRecord(NamedTuple):
    """Which one it was: its offset, and a hash of key and value."""

    offset: int
    digest: bytes

    @classmethod
    def of(cls, offset: int, key: bytes | None, value: bytes | None) -> Self:
        """Return what is remembered of a record."""
        digest = blake2b(repr((key, value is None)).encode())
        digest.update(value or b"")
        return cls(offset, digest.digest())

    async def is_there(self, client: AIOKafkaClient, where: TopicPartition) -> bool:
        """Whether the partition still has it, or has its end behind it and no longer what was at its offset.

        Raises:
            KafkaError: the leader does not answer.
            DamagedBatchError: the batch at its offset is damaged, and the record may be.
        """
        first, end = (await bounds(client, [where]))[where]
        if first > self.offset:  # its front was deleted: a topic that was made anew begins at 0
            return True
        if end <= self.offset:
            return False
        try:
            found = await record_at(client, where, self.offset, self._is, is_compacted=True)
        except RangeGoneError:
            return False
        return found is not None and self._is(found)

    def _is(self, record: Record) -> bool:
        return LastRecord.of(*record[:3]) == self
