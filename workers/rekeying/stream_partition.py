"""A partition of a re-keyed stream on Kafka (the `StreamPartition` port)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.workers.kafka.read.topic_ids import topic_id
from annals.workers.kafka.write.failures import reaching
from annals.workers.reacting.rekeyed import carried_in_stream
from annals.workers.reading.restore_point import KafkaRangedJournal

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

WHAT: Final = "the re-keyed stream"


class KafkaStreamPartition(KafkaRangedJournal):
    """One partition, read in ranges."""

    def __init__(self, client: AIOKafkaClient, topic: str, partition: int) -> None:
        """Take a client, which may serve many partitions, and which partition this is."""
        super().__init__(client, topic, partition, carried_in_stream, WHAT)
        self._topic = topic

    async def topic_id(self) -> bytes | None:
        """Return the id that the brokers gave its topic; None where they have none."""
        with reaching(WHAT):
            return await topic_id(self._client, self._topic)
