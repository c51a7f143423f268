"""A compacted topic of one partition that a process follows and acts on: the newest valid record of each key.

Where the topic lost something, what was known of it before holds, and the loss is told (`problem`) until the topic has
it again, or the process begins anew. A topic lost something where it has another id, ends before what was read, or no
longer has the newest record of a key: compaction keeps that.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.agents.waiting import first_of
from annals.workers.clock import loop_time
from annals.workers.kafka.connections import MissingTopicError, connect, partitions_of
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.read.newest_records import NewestRecords
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.read.settled_ends import settled_bounds
from annals.workers.kafka.read.topic_ids import LOST_IT, MADE_ANEW, SameTopic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.read.invalid_records import InvalidRecords


T = TypeVar("T")

RETRY_S: Final = 1.0
WRITTEN_WITHIN_S: Final = 2.0  # who has not ended a change by then is dead, and its transaction will be ended
HOLDS_S: Final = 5.0  # a leader may be another one, and a loss goes on
OPEN_LOOK_S: Final = 0.005
SAME_TOPIC_S: Final = 1.0  # between two looks whether a topic that brings nothing is the one that was read
FAILURES: Final = (MissingTopicError, KafkaError, OSError, TimeoutError, AssertionError, UnreachableError, MemoryError)


class LostRecordsError(UnreachableError):
    """The topic lacks what was read of it before, or another one has its name. The message says what to do."""


def by_name(newest: NewestRecords[tuple[int, T | None]]) -> dict[str, T]:
    """Return the records that are there by name."""
    return {key.decode(errors="replace"): record for key, (_, record) in newest.rows.items() if record is not None}


class FollowedTopic(Generic[T]):
    """The newest valid record of each key, polled. problem: why they are not known; None while they are.

    revision: grows with each change of the records.
    """

    problem: str | None = None

    def __init__(
        self,
        options: Mapping[str, Any],
        topic: str,
        parse: Callable[[bytes | None, bytes, int], T],
        invalid: InvalidRecords,
        look_s: float,
    ) -> None:
        """Take aiokafka client options, the topic, how its records are read, and how often it is looked at.

        parse: takes key, value and offset; ValueError: it is no valid record, others may be able to write here.
        invalid: takes note of those.
        """
        self._options = options
        self._where = TopicPartition(topic, 0)
        self._parse = parse
        self._invalid = invalid
        self._look_s = look_s
        self._all: Mapping[str, T] = {}
        self._known: dict[bytes, tuple[int, T | None]] = {}
        self._reached = 0
        self._same = SameTopic(topic)
        self._looked_at = 0.0
        self._changed = asyncio.Event()
        self._is_read = asyncio.Event()
        self._asking: list[asyncio.Future[None]] = []
        self._is_asked = asyncio.Event()
        self._left_open = -1
        self._failed_at: float | None = None
        self._told: str | None = None
        self.revision = 0

    def all(self) -> Mapping[str, T]:
        """Return the records by name; another mapping when something has changed."""
        return self._all

    async def until_read(self) -> None:
        """Wait until all that there are were read once."""
        await self._is_read.wait()

    async def until_current(self) -> None:
        """Wait until all is read that is committed now, or is being written: that no longer than a change takes.

        Where the topic cannot be read for HOLDS_S, what was known before holds.
        """
        await self._is_read.wait()
        since = loop_time() if self._failed_at is None else self._failed_at
        with suppress(TimeoutError):
            await self._until_looked(since + HOLDS_S - loop_time())

    async def run(self) -> None:
        """Follow the topic until the task is cancelled."""
        while True:
            client: AIOKafkaClient | None = None
            try:
                client = await connect(self._options, [])
                partitions_of(client, self._where.topic)
                await self._follow(client)
            except FAILURES as error:
                self._failed_at = loop_time() if self._failed_at is None else self._failed_at
                self._failed(error)
                await asyncio.sleep(RETRY_S)
            finally:
                if client is not None:
                    await client.close()

    async def _until_looked(self, within_s: float) -> None:
        """Wait until the topic was looked at once more; TimeoutError: it was not."""
        if within_s <= 0:
            raise TimeoutError
        asking = asyncio.get_running_loop().create_future()
        self._asking.append(asking)
        self._is_asked.set()
        async with asyncio.timeout(within_s):
            await asking

    def _failed(self, error: Exception) -> None:
        """Say why the topic cannot be read."""
        is_loss = isinstance(error, LostRecordsError)
        why = lacking_right(error, "Read") or f"{type(error).__name__}: {error}"
        problem = str(error) if is_loss else f"{self._where.topic} cannot be read: {why}"
        if problem != self._told:
            self._tell(problem)
        self._told = self.problem = problem

    def _tell(self, problem: str) -> None:
        """Log why the topic cannot be read."""
        raise NotImplementedError

    async def _follow(self, client: AIOKafkaClient) -> None:
        newest: NewestRecords[tuple[int, T | None]] | None = None
        while True:
            asked = list(self._asking)
            if newest is None or not await self._read_on(client, newest):
                newest = await self._whole(client)
                self._take(newest)
            self._answer(asked)
            self._is_asked.clear()
            if not self._asking:
                await first_of(self._is_asked.wait(), timeout_s=self._look_s)

    def _answer(self, asked: Sequence[asyncio.Future[None]]) -> None:
        self._asking = [each for each in self._asking if each not in asked]
        for each in asked:
            if not each.done():
                each.set_result(None)

    async def _whole(self, client: AIOKafkaClient) -> NewestRecords[tuple[int, T | None]]:
        """Return the records as they are once no transaction is open, read from the first one.

        Raises:
            LostRecordsError: something is missing of what is known.
            UnreachableError, KafkaError: the topic cannot be read.
        """
        reached, before = self._reached, self._known  # `run` may read on meanwhile: what is known then came later
        await self._require_same(client)
        ((first, end),) = (await settled_bounds(client, [self._where])).values()
        covered: dict[bytes, int] = {}  # the offsets of invalid records, by key

        def parse(key: bytes | None, value: bytes | None, offset: int) -> tuple[int, T | None]:
            if value is None:
                return offset, None
            try:
                return offset, self._parse(key, value, offset)
            except ValueError as error:
                self._invalid.note(self._where, offset, str(error))
                covered[key or b""] = max(offset, covered.get(key or b"", -1))
                raise

        newest = NewestRecords(self._where, first, parse, is_each_parsed=True)
        await newest.read_on(client, end)
        if end < reached:
            raise await self._lost(client, f"ends at offset {end}, and it reached {reached} before")
        for name, known in before.items():
            there = newest.rows.get(name)
            if there is None and covered.get(name, -1) > known[0]:
                newest.rows[name] = known  # compacted away behind an invalid one: what was there before that holds
            elif there is None or there[0] < known[0] or (there[0] == known[0] and there != known):
                raise await self._lost(
                    client, f"lacks what it had at offset {known[0]}, and ends at offset {newest.position}"
                )
        return newest

    async def _read_on(self, client: AIOKafkaClient, newest: NewestRecords[tuple[int, T | None]]) -> bool:
        """Read what came since; return whether all is there yet that was read before. If not, nothing was read."""
        end = await self._end(client, newest.position)
        if end == newest.position and loop_time() - self._looked_at <= SAME_TOPIC_S:
            return True
        await self._require_same(client)
        first = (await list_offsets(client, HIGH_WATERMARK, FIRST, [self._where]))[self._where]
        if first != newest.first or end < newest.position or not await newest.read_on(client, end):
            return False
        self._take(newest)
        return True

    def _take(self, newest: NewestRecords[tuple[int, T | None]]) -> None:
        """Know what was read."""
        for name in [name for name, (_, record) in newest.rows.items() if record is None]:
            del newest.rows[name]
        self._known = dict(newest.rows)
        said = by_name(newest)
        if said != self._all:
            self._all = said
            self.revision += 1
            self._changed.set()
            self._changed = asyncio.Event()
        self._reached = newest.position
        self._same.was_read()
        self.problem = self._told = self._failed_at = None
        self._is_read.set()

    async def _end(self, client: AIOKafkaClient, known: int) -> int:
        """Return where the topic ends; what is being written is waited for, once and no longer than a change takes."""
        high = (await list_offsets(client, HIGH_WATERMARK, LAST, [self._where]))[self._where]
        if high <= known:
            return high
        end, deadline = known, loop_time() + WRITTEN_WITHIN_S
        while end < high:
            end = (await list_offsets(client, LAST_STABLE, LAST, [self._where]))[self._where]
            if end < high and (high == self._left_open or loop_time() > deadline):
                self._left_open = high
                break
            if end < high:
                await asyncio.sleep(OPEN_LOOK_S)
        return end

    async def _require_same(self, client: AIOKafkaClient) -> None:
        """Raise LostRecordsError where the topic is another one than was read."""
        if not await self._same.look(client):
            raise LostRecordsError(
                f"{self._where.topic} {MADE_ANEW}. What was known before holds yet. Write again what it lacks, if "
                f"anything; then, to go on with what is there, restart the workers."
            )
        self._looked_at = loop_time()

    async def _lost(self, client: AIOKafkaClient, what: str) -> LostRecordsError:
        """Return the error of a topic that lacks something; one that was made anew meanwhile is told as that."""
        await self._require_same(client)
        return LostRecordsError(
            f"{self._where.topic}-0 {what}: {LOST_IT}. What was known before holds yet. "
            f"Restore it; or, to go on with what is there, restart the workers."
        )
