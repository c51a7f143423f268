"""One journal partition, asked for its bounds and for single records (the `JournalPartition` port)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.structs import TopicPartition

from annals.agents.ports import JournalRecord
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.read.single_record import has_cid, record_at

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient


class KafkaJournalPartition:
    """A journal partition on Kafka."""

    def __init__(self, client: AIOKafkaClient, topic: str, partition: int) -> None:
        """Take a client, which may serve many partitions, and which partition this is."""
        self._client = client
        self._where = TopicPartition(topic, partition)

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset that is still there, and the last stable one."""
        return (await bounds(self._client, [self._where]))[self._where]

    async def record_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the committed record at an offset; None if there is none.

        cid: of the value that it is to have; one that has it is right, whatever else of its batch is damaged.

        Raises:
            DamagedBatchError: its batch is damaged, and it may be.
        """
        start, end = await self.bounds()
        if not start <= offset < end:
            return None
        found = await record_at(self._client, self._where, offset, has_cid(cid))
        return None if found is None else JournalRecord(*found[:3])
