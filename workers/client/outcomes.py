"""The outcomes of one kind, from a moment on, told to whoever waits for one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.waiting import ended
from annals.topics.headers import COMMAND_ID, COMMAND_OFFSET, decimal_header
from annals.workers.kafka.connections import stop_consumer
from annals.workers.kafka.group.header_names import of_whole_topic, reading_consumer
from annals.workers.kafka.read.ranges import bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

READ_TIMEOUT_MS: Final = 1_000
RETRY_BACKOFF_MS: Final = 10
NOT_KNOWN: Final = -1


class Pending:
    """A command that was sent: `answer` becomes the outcome's JSON, as it came.

    delivered: becomes whether the broker has said that it has the command.
    """

    __slots__ = ("_early", "_offset", "answer", "deadline", "delivered", "id", "key")

    def __init__(self, key: bytes, command_id: str, deadline: float) -> None:
        """Take the record's key, the command's id, and until when (of the loop's time) an answer is waited for."""
        self.key = key
        self.id = command_id
        self.deadline = deadline
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.delivered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._offset: int | None = None
        self._early: list[tuple[int | None, bytes]] = []

    def sent(self, offset: int) -> None:
        """Learn where the command stands; below 0: the broker has it and does not say where."""
        self._offset = offset
        early, self._early = self._early, []
        for command_offset, value in early:
            self.offer(command_offset, value)

    def offer(self, command_offset: int | None, value: bytes) -> None:
        """Take an outcome of this id if it is of this very command, and the first one.

        An id that was sent before, by this program or another, has outcomes of its own, and those are not the answer.
        """
        if self._offset is None:
            self._early.append((command_offset, value))
        elif self.answer.done():
            return
        elif self._offset <= NOT_KNOWN or command_offset is None or command_offset == self._offset:
            self.answer.set_result(value)


class OutcomeReader:
    """Reads a kind's outcomes from where they ended when it was started."""

    def __init__(self, options: Mapping[str, Any], topic: str, partitions: int) -> None:
        """Take aiokafka client options, the topic and the number of its partitions."""
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = reading_consumer(
            **options,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # only where outcomes expired before they were read
            retry_backoff_ms=RETRY_BACKOFF_MS,
            value_deserializer=of_whole_topic,
        )
        self._waiting: dict[tuple[bytes, str], list[Pending]] = {}
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    async def start(self, client: AIOKafkaClient) -> None:
        """Note where the outcomes end, and begin to read there. A command that is sent from now on is not missed."""
        found = await bounds(client, self._partitions)
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        for partition in self._partitions:
            self._consumer.seek(partition, found[partition][1])
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await ended(self._task)
        await stop_consumer(self._consumer)

    def expect(self, pending: Pending) -> None:
        """Tell this command of its outcomes from now on."""
        self._waiting.setdefault((pending.key, pending.id), []).append(pending)
        if self._error is not None:
            pending.answer.set_exception(self._error)

    def forget(self, pending: Pending) -> None:
        """Tell it of none any more."""
        name = (pending.key, pending.id)
        others = [each for each in self._waiting.get(name, ()) if each is not pending]
        if others:
            self._waiting[name] = others
        else:
            self._waiting.pop(name, None)

    async def _read(self) -> None:
        try:
            while True:
                fetched = await self._consumer.getmany(timeout_ms=READ_TIMEOUT_MS)
                for records in fetched.values():
                    for record in records:
                        self._deal(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._error = error
            for waiting in self._waiting.values():
                for pending in waiting:
                    if not pending.answer.done():
                        pending.answer.set_exception(error)

    def _deal(self, record: Any) -> None:
        command_id = dict(record.headers).get(COMMAND_ID)
        if command_id is None or record.key is None or record.value is None:
            return
        for pending in self._waiting.get((record.key, command_id.decode(errors="replace")), ()):
            pending.offer(decimal_header(record.headers, COMMAND_OFFSET), record.value)
