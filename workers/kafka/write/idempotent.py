"""An idempotent producer that lives as long as its process, whatever single records the brokers refuse.

aiokafka numbers the records of a partition before it sends them. One that is refused (too large, no right to write, no
leader for too long) leaves its number out, and the broker refuses everything behind such a gap, for ever. So another
producer, with numbers of its own, takes the place of one that had a record refused.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import OutOfOrderSequenceNumber

from annals.workers.kafka.connections import connect, creating_nothing, partitions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.structs import RecordMetadata

    Delivery = asyncio.Future[RecordMetadata]


class IdempotentProducer:
    """Sends records; each is written once, if it is. It connects with the first, or by `start`."""

    def __init__(self, options: Mapping[str, Any], **further: Any) -> None:
        """Take aiokafka client options, and further ones of its producer."""
        self._client_options = options
        self._options = {**options, **further, "acks": "all", "enable_idempotence": True}
        self._partitions: dict[str, int] = {}
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, if it has not.

        Raises:
            KafkaConnectionError: no broker answers.
        """
        await self._connected()

    async def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has: one that is missing a producer would wait for, or create by itself.

        Raises:
            MissingTopicError: it is not there.
            KafkaConnectionError: no broker answers.
        """
        async with self._connecting:
            if topic not in self._partitions:
                client = await connect(self._client_options, [])
                try:
                    self._partitions[topic] = partitions_of(client, topic)
                finally:
                    await client.close()
            return self._partitions[topic]

    async def send(self, topic: str, value: bytes | None, key: bytes | None, partition: int) -> Delivery:
        """Hand a record over; the future has its place, or why the brokers do not have it. It is not to be cancelled.

        Raises:
            KafkaError: it cannot be handed over.
        """
        producer = self._producer or await self._connected()
        delivery: Delivery = await producer.send(topic, value, key, partition=partition)
        delivery.add_done_callback(partial(self._delivered, producer))
        return delivery

    async def send_and_wait(self, topic: str, value: bytes | None, key: bytes | None, partition: int) -> RecordMetadata:
        """Return when all in-sync replicas have a record.

        Raises:
            KafkaError: they do not have it.
        """
        try:
            return await asyncio.shield(await self.send(topic, value, key, partition))
        except OutOfOrderSequenceNumber:  # one before it was refused while this one was on its way
            return await asyncio.shield(await self.send(topic, value, key, partition))

    async def stop(self) -> None:
        """Send what is still to be sent, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
        await asyncio.gather(*self._retired, return_exceptions=True)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = creating_nothing(AIOKafkaProducer(**self._options))
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _delivered(self, producer: AIOKafkaProducer, delivery: Delivery) -> None:
        has_failed = not delivery.cancelled() and delivery.exception() is not None
        if has_failed and self._producer is producer:
            self._producer = None
            self._retire(producer)

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Send what is still to be sent by one that another takes the place of, and disconnect it."""
        retiring = asyncio.create_task(producer.stop(), name="retire a producer")
        self._retired.add(retiring)
        retiring.add_done_callback(self._retired.discard)
