"""The topic `audit`: administrative calls, kept as long as Kafka is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.errors import KafkaError

from annals.agents.reading.ports import NotReadyError
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.write.idempotent import IdempotentProducer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.schemas.audit import AuditEntry

WITHIN_S: Final = 10.0
PARTITION: Final = 0


class KafkaAudit:
    """Writes entries to the topic (the `AuditLog` port); connects with the first."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        """Take aiokafka client options and the topic."""
        self._topic = topic
        self._producer = IdempotentProducer(options)

    async def write(self, entry: AuditEntry) -> None:
        """Return when all in-sync replicas have the entry.

        Raises:
            NotReadyError: the topic is missing, or the brokers do not say that they have it.
        """
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._producer.partitions_of(self._topic)
                await self._producer.send_and_wait(
                    self._topic, msgspec.json.encode(entry), entry.request_id.encode(), PARTITION
                )
        except (MissingTopicError, KafkaError, TimeoutError) as error:
            reason = lacking_right(error, "Write") or str(error) or "the brokers do not answer"
            raise NotReadyError(f"administrative calls cannot be recorded in {self._topic}: {reason}") from error

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()
