"""A compacted topic of one partition that several workers follow, and change one at a time.

A change fences the topic's transactional id, reads the topic to its end, and writes what it makes of the newest
records: whoever was about to write meanwhile is refused. It is done when this worker has read it back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced, TopicAuthorizationFailedError

from annals.agents.reading.ports import NotReadyError
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP
from annals.workers.kafka.connections import connect, creating_nothing, partitions_of
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.read.followed_topic import FAILURES, FollowedTopic, LostRecordsError, by_name
from annals.workers.kafka.read.invalid_records import InvalidRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka.client import AIOKafkaClient

T = TypeVar("T")

LOOK_S: Final = 0.2
READ_BACK_S: Final = 10.0
ATTEMPTS: Final = 2
TRANSACTION_TIMEOUT_MS: Final = 10_000


class RecordBusyError(NotReadyError):
    """Others change the topic at the same time; ask again."""


class RecordFormat(Protocol[T]):
    """How records are written and read. what: they are of."""

    what: str
    most_bytes: int

    def encode(self, record: T) -> bytes:
        """Return a record's value."""

    def decode(self, key: bytes | None, value: bytes) -> T:
        """Return the record of a key and a value; ValueError if they are none."""


class _PassedOver(InvalidRecords):
    """Tells the topic of each record that is passed over."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def _count_one(self, topic: str) -> None:
        del topic
        self._tell()


class CompactedTopic(FollowedTopic[T]):
    """What the topic says. invalid: how many records were passed over; problem: what was lost of it, or which right."""

    def __init__(self, options: Mapping[str, Any], topic: str, form: RecordFormat[T]) -> None:
        """Take aiokafka client options, the topic's name, and how its records are written."""
        passed_over = _PassedOver(self._passed_over)
        super().__init__(options, topic, lambda key, value, _: form.decode(key, value), passed_over, LOOK_S)
        self._form = form
        self._log = structlog.get_logger(__name__).bind(topic=topic)
        self._changing = asyncio.Lock()
        self.invalid = 0

    @property
    def records(self) -> Mapping[str, T]:
        """The newest valid record of each key."""
        return self.all()

    @property
    def is_read(self) -> bool:
        """Whether they were read to the end once."""
        return self._is_read.is_set()

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
                except FAILURES as error:
                    raise self._not_ready("be changed", error) from error
                return {key: record for key, record in written.items() if record is not None}
        raise RecordBusyError(f"other workers change {self._where.topic} at the same time; ask again")

    async def refresh(self) -> None:
        """Return when `run` has read what the topic has now.

        Raises:
            NotReadyError: there is no such topic, or the brokers do not answer.
        """
        try:
            if self._told is not None:
                raise NotReadyError(self._told)
            await self._until_looked(READ_BACK_S)
        except TimeoutError as error:
            raise self._not_ready("be read", error) from error

    def _not_ready(self, what: str, error: Exception) -> NotReadyError:
        reason = self._told or lacking_right(error, "Read and Write") or str(error) or type(error).__name__
        return NotReadyError(f"the topic of {self._form.what} cannot {what}: {reason}")

    async def _write(
        self, change: Callable[[Mapping[str, T]], Mapping[str, T | None]]
    ) -> tuple[dict[str, T | None], int]:
        topic = self._where.topic
        client = await connect(self._options, [])
        try:
            partitions_of(client, topic)
            await self._require_same(client)
            return await self._write_as_only_one(client, change)
        finally:
            await client.close()

    async def _write_as_only_one(
        self, client: AIOKafkaClient, change: Callable[[Mapping[str, T]], Mapping[str, T | None]]
    ) -> tuple[dict[str, T | None], int]:
        producer = creating_nothing(
            AIOKafkaProducer(
                **self._options,
                transactional_id=topic_transactional_id(self._where.topic),
                transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
                max_request_size=self._form.most_bytes,
            )
        )
        await producer.start()  # fences
        try:
            known = by_name(await self._whole(client))
            changed = {key: record for key, record in change(known).items() if record != known.get(key)}
            offset = -1
            if changed:
                async with producer.transaction():
                    for key, record in changed.items():
                        metadata = await producer.send_and_wait(
                            self._where.topic,
                            None if record is None else self._form.encode(record),
                            key=key.encode(),
                            partition=0,
                            timestamp_ms=NO_TIMESTAMP,
                        )
                        offset = metadata.offset
            return changed, offset
        finally:
            await producer.stop()

    def _failed(self, error: Exception) -> None:
        super()._failed(error)
        if not isinstance(error, LostRecordsError | TopicAuthorizationFailedError):
            # of brokers that do not answer, others speak; a topic of a later release is not there before that
            self.problem = None

    def _tell(self, problem: str) -> None:
        self._log.warning(f"the topic of {self._form.what} cannot be read", error=problem)

    def _passed_over(self) -> None:
        """Count an invalid record, which was met for the first time."""
        self.invalid += 1

    async def _until_read(self, offset: int) -> None:
        """Wait until `run` has read an offset."""
        async with asyncio.timeout(READ_BACK_S):
            while self._reached <= offset:
                await self._until_looked(READ_BACK_S)
