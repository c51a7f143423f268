"""Dead letters and their settlements, read from Kafka."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from aiokafka.structs import TopicPartition

from annals.agents.dead_letters.letter import DeadLetterRecord
from annals.agents.dead_letters.settled import Settled
from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.ports import UnreachableError
from annals.agents.waiting import in_turns
from annals.schemas.settlement import parse_settlement
from annals.workers.kafka.connections import partitions_of
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.last_record import LastRecord
from annals.workers.kafka.read.ranges import RangeGoneError, bounds, read_range
from annals.workers.kafka.read.settled_ends import records_until, settled_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiokafka.client import AIOKafkaClient

    from annals.topics.headers import ReadHeaders
    from annals.workers.kafka.read.invalid_records import InvalidRecords


NO_HEADERS: Final[ReadHeaders] = ()


class SettledTopic:
    """What is settled, as far as `audit` was read: that is kept for ever, so each reading goes on where one ended.

    Each begins at the last record that is known: where that is another one, the topic was made anew meanwhile.
    """

    def __init__(self, topic: str, invalid: InvalidRecords = PASSED_OVER) -> None:
        """Take the topic, and what takes note of records that are none; nothing of it is read yet."""
        self._where = TopicPartition(topic, 0)
        self._invalid = invalid
        self._settled = Settled()
        self._next = 0
        self._last: LastRecord | None = None
        self._reading = asyncio.Lock()

    async def read(self, client: AIOKafkaClient) -> Settled:
        """Return what is settled, transactions that are under way included; another object if the topic was made anew.

        Raises:
            MissingTopicError: there is no such topic.
            UnreachableError, KafkaError: it cannot be read to its end; what was read by then is kept.
        """
        partitions_of(client, self._where.topic)
        async with self._reading:
            end = await settled_end(client, self._where)
            if self._last is None:
                self._next = 0
            elif end < self._next or not await self._last.is_there(client, self._where):
                self._settled, self._next, self._last = Settled(), 0, None
            if self._next < end:
                async for offset, key, value, _ in records_until(client, self._where, self._next, end):
                    self._take(offset, key, value)
                self._next = end
            return self._settled

    def _take(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self._next, self._last = offset + 1, LastRecord.of(offset, key, value)
        try:
            settlement = parse_settlement(key, value)
        except ValueError as error:
            self._invalid.note(self._where, offset, str(error))
            return
        if settlement is not None:
            self._settled.add(settlement)


async def letter_bounds(client: AIOKafkaClient, topic: str) -> dict[int, tuple[int, int]]:
    """Return by partition, in their order, the first offset of dead letters and the one behind the last.

    Raises:
        MissingTopicError: there is no such topic.
        KafkaError: a leader does not answer.
    """
    wheres = [TopicPartition(topic, partition) for partition in range(partitions_of(client, topic))]
    return {partition: found for (_, partition), found in sorted((await bounds(client, wheres)).items())}


async def read_letters(
    client: AIOKafkaClient, where: TopicPartition, start: int, end: int
) -> AsyncGenerator[DeadLetterRecord, None]:
    """Yield the dead letters of a partition between two offsets; of their values one fetch is held at a time.

    After each TURN_RECORDS whatever else the event loop has to do is done.

    Raises:
        UnreachableError, KafkaError: they cannot be read.
    """
    try:
        async with aclosing(read_range(client, where, start, end)) as steps:
            async for records in steps:
                async with aclosing(in_turns(records, TURN_RECORDS)) as turns:
                    async for some in turns:
                        for offset, key, value, headers in some:
                            yield DeadLetterRecord(where.partition, offset, key, value, _headers(headers))
    except RangeGoneError as error:
        raise UnreachableError(str(error)) from error


def _headers(raw: bytes) -> ReadHeaders:
    try:
        return headers_of(raw)
    except ValueError:  # nobody but a stranger wrote it
        return NO_HEADERS
