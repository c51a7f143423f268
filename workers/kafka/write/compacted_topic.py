"""A compacted topic of one partition that several workers follow, and change one at a time.

A change fences the topic's transactional id, reads the topic to its end, and writes what it makes of the newest
records: whoever was about to write meanwhile is refused. It is done when this worker has read it back.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition

from annals.agents.backoff import Backoff
from annals.agents.reading.ports import NotReadyError
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP
from annals.workers.kafka.connections import MissingTopicError, connect, partitions_of, stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.read.topic_ids import MADE_ANEW, SameTopic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka import AIOKafkaConsumer
    from aiokafka.client import AIOKafkaClient

T = TypeVar("T")

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
POLL_MS: Final = 500
READ_BACK_S: Final = 10.0
LOOK_S: Final = 1.0  # between two looks whether a topic that brings nothing is the one that was read
ATTEMPTS: Final = 2
TRANSACTION_TIMEOUT_MS: Final = 10_000


class RecordBusyError(NotReadyError):
    """Others change the topic at the same time; ask again."""


class LostRecordsError(KafkaError):
    """The topic lacks what was read of it before."""


class RecordFormat(Protocol[T]):
    """How records are written and read. what: they are of."""

    what: str
    most_bytes: int

    def encode(self, record: T) -> bytes:
        """Return a record's value."""

    def decode(self, key: bytes | None, value: bytes) -> T:
        """Return the record of a key and a value; ValueError if they are none."""


class CompactedTopic(Generic[T]):
    """What the topic says. records: the newest valid one of each key; invalid: records that were passed over.

    revision: grows with each change of the records; is_read: they were read to the end once.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, form: RecordFormat[T]) -> None:
        """Take aiokafka client options, the topic's name, and how its records are written."""
        self._options = options
        self._topic = topic
        self._form = form
        self._log = structlog.get_logger(__name__).bind(topic=topic)
        self._changing = asyncio.Lock()
        self._moved = asyncio.Event()
        self._read_until = 0
        self._same = SameTopic(topic)
        self._offsets: dict[str, int] = {}
        self.records: dict[str, T] = {}
        self.invalid = 0
        self.revision = 0
        self.is_read = False
        self.problem: str | None = None
        """What was lost of the topic, with what to do; what was known before holds yet."""

    async def run(self) -> None:
        """Follow the topic until cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                await self._follow(backoff)
            except (MissingTopicError, KafkaError, OSError, TimeoutError) as error:
                self.problem = str(error) if isinstance(error, LostRecordsError) else None
                self._log.warning(f"the topic of {self._form.what} cannot be read", error=str(error))
            await backoff.wait()

    async def change(self, key: str, change: Callable[[T | None], T | None]) -> T | None:
        """Write what a change makes of a key's newest record, and return it as read back; None: no change.

        Raises:
            NotReadyError: there is no such topic, the brokers do not answer or refuse, or another worker changes the
                topic at the same time, twice (RecordBusyError).
        """

        def of_one(known: Mapping[str, T]) -> dict[str, T | None]:
            changed = change(known.get(key))
            return {} if changed is None else {key: changed}

        return (await self.change_all(of_one)).get(key)

    async def change_all(self, change: Callable[[Mapping[str, T]], Mapping[str, T | None]]) -> dict[str, T]:
        """Write what a change makes of the newest records, None for one that goes, in one transaction.

        Returns what was changed, as read back: what is as it was is not written.

        Raises:
            As `change`.
        """
        async with self._changing:
            for _ in range(ATTEMPTS):
                try:
                    written, offset = await self._write(change)
                    await self._until_read(offset)
                except ProducerFenced:
                    continue
                except (MissingTopicError, KafkaError, OSError, TimeoutError) as error:
                    raise self._not_ready("be changed", error) from error
                return {key: record for key, record in written.items() if record is not None}
        raise RecordBusyError(f"other workers change {self._topic} at the same time; ask again")

    async def refresh(self) -> None:
        """Return when `run` has read what the topic has now.

        Raises:
            NotReadyError: there is no such topic, or the brokers do not answer.
        """
        try:
            await self._require_topic()
            consumer, partition = await self._consumer()
            try:
                end = (await consumer.end_offsets([partition]))[partition]
            finally:
                await stop_consumer(consumer)
            await self._until_read(end - 1)
        except (MissingTopicError, KafkaError, OSError, TimeoutError) as error:
            raise self._not_ready("be read", error) from error

    def _not_ready(self, what: str, error: Exception) -> NotReadyError:
        reason = str(error) or type(error).__name__
        return NotReadyError(f"the topic of {self._form.what} cannot {what}: {reason}")

    async def _write(
        self, change: Callable[[Mapping[str, T]], Mapping[str, T | None]]
    ) -> tuple[dict[str, T | None], int]:
        await self._require_topic()
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=topic_transactional_id(self._topic),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_request_size=self._form.most_bytes,
        )
        await producer.start()  # fences
        try:
            known = await self._newest()
            changed = {key: record for key, record in change(known).items() if record != known.get(key)}
            offset = -1
            if changed:
                async with producer.transaction():
                    for key, record in changed.items():
                        metadata = await producer.send_and_wait(
                            self._topic,
                            None if record is None else self._form.encode(record),
                            key=key.encode(),
                            partition=0,
                            timestamp_ms=NO_TIMESTAMP,
                        )
                        offset = metadata.offset
            return changed, offset
        finally:
            await producer.stop()

    async def _newest(self) -> dict[str, T]:
        """Return the newest valid records, read from the beginning to the end as it is now."""
        consumer, partition = await self._consumer()
        try:
            end = (await consumer.end_offsets([partition]))[partition]
            known: dict[str, T] = {}
            offsets: dict[str, int] = {}
            while await consumer.position(partition) < end:
                for record in (await consumer.getmany(partition, timeout_ms=POLL_MS)).get(partition, ()):
                    self._note(known, record, offsets)
            self._require_known(offsets, end)
            return known
        finally:
            await stop_consumer(consumer)

    async def _follow(self, backoff: Backoff) -> None:
        await self._require_topic()
        consumer, partition = await self._consumer()
        try:
            end = (await consumer.end_offsets([partition]))[partition]
            known: dict[str, T] = {}
            offsets: dict[str, int] = {}
            looked_at = monotonic()
            while True:
                records = (await consumer.getmany(partition, timeout_ms=POLL_MS)).get(partition, ())
                if records or monotonic() - looked_at > LOOK_S:  # a consumer goes on in another topic of that name
                    await self._require_same(consumer._client)  # noqa: SLF001 - a connection for each would be dear
                    looked_at = monotonic()
                for record in records:
                    if (problem := self._note(known, record, offsets)) is not None:
                        self._log.warning(
                            f"a record of the topic of {self._form.what} is invalid",
                            offset=record.offset,
                            reason=problem,
                        )
                        self._passed_over()
                read_until = await consumer.position(partition)
                if read_until >= end:
                    self._require_known(offsets, read_until)
                    self.problem = None
                self._read_until = read_until
                if self._read_until >= end and (known != self.records or not self.is_read):
                    self.records, self.is_read, self._offsets = dict(known), True, dict(offsets)
                    self._same.was_read()
                    self.revision += 1
                    backoff.reset()
                if records or self._read_until >= end:
                    self._moved.set()
                    self._moved = asyncio.Event()
        finally:
            await stop_consumer(consumer)

    async def _require_topic(self) -> None:
        """Raise where the topic is missing: a client would wait for it, or create it with other settings.

        Raises:
            MissingTopicError: it is.
            LostRecordsError: it is another one than was read.
        """
        client = await connect(self._options, [])
        try:
            partitions_of(client, self._topic)
            await self._require_same(client)
        finally:
            await client.close()

    async def _require_same(self, client: AIOKafkaClient) -> None:
        """Raise LostRecordsError where the topic is another one than was read."""
        if not await self._same.look(client):
            raise LostRecordsError(
                f"{self._topic} {MADE_ANEW}. Write again what it lacks, if anything; then, to go on with what is "
                f"there, restart the workers"
            )

    async def _consumer(self) -> tuple[AIOKafkaConsumer, TopicPartition]:
        consumer = reading_consumer(
            **self._options, isolation_level="read_committed", enable_auto_commit=False, auto_offset_reset="none"
        )
        await consumer.start()
        partition = TopicPartition(self._topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return consumer, partition

    def _require_known(self, offsets: Mapping[str, int], end: int) -> None:
        """Check that a topic read from its beginning has every key that was known, no older than it was known.

        Compaction keeps the newest record of each key, so a missing or older one was lost.

        Raises:
            LostRecordsError: one is missing or older.
        """
        for key in self.records:
            if (known := self._offsets.get(key, -1)) > offsets.get(key, -1):
                raise LostRecordsError(
                    f"{self._topic}-0 ends at offset {end}, and lacks what it had at offset {known}: it lost its end, "
                    f"was emptied or made anew. Restore it; or, to go on with what is there, restart the workers"
                )

    def _note(self, known: dict[str, T], record: Any, offsets: dict[str, int]) -> str | None:
        """Take a record, as from a stranger; return what is wrong with one that is passed over."""
        key = (record.key or b"").decode(errors="replace")
        offsets[key] = record.offset
        if record.value is None:
            known.pop(key, None)
            return None
        try:
            known[key] = self._form.decode(record.key, record.value)
        except ValueError as error:
            return str(error)
        return None

    def _passed_over(self) -> None:
        """Count an invalid record, which was met for the first time."""
        self.invalid += 1

    async def _until_read(self, offset: int) -> None:
        """Wait until `run` has read an offset."""
        async with asyncio.timeout(READ_BACK_S):
            while self._read_until <= offset:
                await self._moved.wait()
