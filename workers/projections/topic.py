"""The compacted topic `projections`: followed by every worker that reads, and changed by one at a time.

A change fences the topic's transactional id, reads the topic to its end, and writes what it makes of the newest record:
whoever was about to write meanwhile is refused. It is done when this worker has read it back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition

from annals.agents.backoff import Backoff
from annals.schemas.projection_record import MOST_BYTES, ProjectionRecord, decode_record, encode_record
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP
from annals.workers.kafka.connections import stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka import AIOKafkaConsumer

    Change = Callable[[ProjectionRecord | None], ProjectionRecord | None]

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
POLL_MS: Final = 500
READ_BACK_S: Final = 10.0
ATTEMPTS: Final = 2
TRANSACTION_TIMEOUT_MS: Final = 10_000


class RecordBusyError(Exception):
    """Others change the topic at the same time; ask again."""


class ProjectionTopic:
    """What the topic says. records: the newest valid one of each projection; invalid: records that were passed over."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        """Take aiokafka client options, and the topic's name."""
        self._options = options
        self._topic = topic
        self._log = structlog.get_logger(__name__).bind(topic=topic)
        self._changing = asyncio.Lock()
        self._moved = asyncio.Event()
        self._read_until = 0
        self.records: dict[str, ProjectionRecord] = {}
        self.invalid = 0
        self.revision = 0
        self.is_read = False

    async def run(self) -> None:
        """Follow the topic until cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                await self._follow(backoff)
            except (KafkaError, OSError, TimeoutError) as error:
                self._log.warning("the topic of projections cannot be read", error=str(error))
            await backoff.wait()

    async def change(self, name: str, change: Change) -> ProjectionRecord | None:
        """Write what a change makes of a projection's newest record, and return it as read back; None: no change.

        Raises:
            RecordBusyError: another worker changes the topic at the same time, twice.
            KafkaError: the brokers do not answer, or refuse.
        """
        async with self._changing:
            for _ in range(ATTEMPTS):
                try:
                    written = await self._write(name, change)
                except ProducerFenced:
                    continue
                if written is None:
                    return None
                record, offset = written
                await self._until_read(offset)
                return record
        raise RecordBusyError("other workers change the topic of projections at the same time; ask again")

    async def _write(self, name: str, change: Change) -> tuple[ProjectionRecord, int] | None:
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=topic_transactional_id(self._topic),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_request_size=MOST_BYTES,
        )
        await producer.start()  # fences
        try:
            known = await self._newest()
            changed = change(known.get(name))
            if changed is None or changed == known.get(name):
                return None
            async with producer.transaction():
                value, key = encode_record(changed), name.encode()
                metadata = await producer.send_and_wait(
                    self._topic, value, key=key, partition=0, timestamp_ms=NO_TIMESTAMP
                )
            return changed, metadata.offset
        finally:
            await producer.stop()

    async def _newest(self) -> dict[str, ProjectionRecord]:
        """Return the newest valid records, read from the beginning to the end as it is now."""
        consumer, partition = await self._consumer()
        try:
            end = (await consumer.end_offsets([partition]))[partition]
            known: dict[str, ProjectionRecord] = {}
            while await consumer.position(partition) < end:
                for record in (await consumer.getmany(partition, timeout_ms=POLL_MS)).get(partition, ()):
                    self._note(known, record)
            return known
        finally:
            await stop_consumer(consumer)

    async def _follow(self, backoff: Backoff) -> None:
        consumer, partition = await self._consumer()
        try:
            end = (await consumer.end_offsets([partition]))[partition]
            known: dict[str, ProjectionRecord] = {}
            while True:
                records = (await consumer.getmany(partition, timeout_ms=POLL_MS)).get(partition, ())
                for record in records:
                    self.invalid += not self._note(known, record)
                self._read_until = await consumer.position(partition)
                if self._read_until >= end and (known != self.records or not self.is_read):
                    self.records, self.is_read = dict(known), True
                    self.revision += 1
                    backoff.reset()
                if records:
                    self._moved.set()
                    self._moved = asyncio.Event()
        finally:
            await stop_consumer(consumer)

    async def _consumer(self) -> tuple[AIOKafkaConsumer, TopicPartition]:
        consumer = reading_consumer(**self._options, isolation_level="read_committed", enable_auto_commit=False)
        await consumer.start()
        partition = TopicPartition(self._topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return consumer, partition

    def _note(self, known: dict[str, ProjectionRecord], record: Any) -> bool:
        """Take a record, as from a stranger; False for one that is passed over."""
        if record.value is None:
            known.pop((record.key or b"").decode(errors="replace"), None)
            return True
        try:
            decoded = decode_record(record.key, record.value)
        except ValueError as error:
            self._log.warning(
                "a record of the topic of projections is invalid", offset=record.offset, reason=str(error)
            )
            return False
        known[decoded.name] = decoded
        return True

    async def _until_read(self, offset: int) -> None:
        """Wait until `run` has read an offset."""
        async with asyncio.timeout(READ_BACK_S):
            while self._read_until <= offset:
                await self._moved.wait()
