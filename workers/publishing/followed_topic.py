"""A compacted topic of one partition: every process follows it, and one administrator at a time writes to it.

A change fences the topic's other writers. It is one transaction, with the first progress of what the change starts.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from aiokafka.errors import KafkaError

from annals.agents.ports import FencedError, UncertainError, UnreachableError
from annals.agents.publishing.administration import Refused
from annals.agents.waiting import first_of
from annals.schemas.progress import encode_progress, progress_key
from annals.topics.catalog import PROGRESS_TOPIC_BYTES, SUBSCRIPTION_TOPIC_BYTES
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import MissingTopicError, connect, partitions_of
from annals.workers.kafka.read.offsets import HIGH_WATERMARK, LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.read.topic_ids import MADE_ANEW, SameTopic
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.progress_topic import records_until, settled_end
from annals.workers.publishing.reached import LOST_IT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.kafka.write.batches import RecordBatch

    Where = tuple[str, int]


class Placed(Protocol):
    """A record that knows where it stands."""

    @property
    def offset(self) -> int:
        """Its offset in the topic."""


T = TypeVar("T", bound=Placed)
A = TypeVar("A")
W = TypeVar("W", bound="FollowedTopicWriter")

RETRY_S: Final = 1.0
WRITTEN_WITHIN_S: Final = 2.0  # who has not ended a change by then is dead, and its transaction will be ended
CHANGED_WITHIN_S: Final = 1.0  # else it is begun anew: readers might no longer wait for it
HOLDS_S: Final = 5.0  # a leader may be another one, and a loss goes on
OPEN_LOOK_S: Final = 0.005
SAME_TOPIC_S: Final = 1.0  # between two looks whether a topic that brings nothing is the one that was read
ATTEMPTS: Final = 2
NO_HEADERS: Final = encode_headers([])


class Answered(NamedTuple):
    """What a record of the topic is about, as it is answered.

    etag: of the record, without quotes; 0: there is none. is_new: it was made by this request.
    """

    body: dict[str, Any]
    etag: str
    is_new: bool = False


async def read_newest(
    client: AIOKafkaClient,
    where: Where,
    start: int,
    end: int,
    parse: Callable[[bytes | None, bytes, int], T],
    invalid: InvalidRecords,
) -> dict[str, T | None]:
    """Return the newest valid record of each key between two offsets; None for one that is gone.

    parse: takes key, value and offset; ValueError: the record says nothing, others may be able to write here. invalid:
    takes note of those.
    """
    found: dict[str, T | None] = {}
    async for offset, key, value, _ in records_until(client, where, start, end):
        name = (key or b"").decode(errors="replace")
        if value is None:
            found[name] = None
            continue
        try:
            found[name] = parse(key, value, offset)
        except ValueError as error:
            invalid.note(where, offset, str(error))
    return found


class FollowedTopic(Generic[T]):
    """The newest record of each key in the topic, polled. problem: why they are not known; None while they are."""

    problem: str | None = None

    def __init__(
        self,
        options: Mapping[str, Any],
        topic: str,
        read: Callable[[AIOKafkaClient, Where, int, int], Awaitable[Mapping[str, T | None]]],
        look_s: float,
    ) -> None:
        """Take aiokafka client options, what reads the topic between two offsets, and how often it is looked at."""
        self._options = options
        self._where = (topic, 0)
        self._read = read
        self._look_s = look_s
        self._all: Mapping[str, T] = {}
        self._reached = 0
        self._same = SameTopic(topic)
        self._changed = asyncio.Event()
        self._is_read = asyncio.Event()
        self._asking: list[asyncio.Future[None]] = []
        self._is_asked = asyncio.Event()
        self._left_open = -1
        self._failed_at: float | None = None

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
        since = monotonic() if self._failed_at is None else self._failed_at
        left = since + HOLDS_S - monotonic()
        if left <= 0:
            return
        asking = asyncio.get_running_loop().create_future()
        self._asking.append(asking)
        self._is_asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await asking

    async def run(self) -> None:
        """Follow the topic until the task is cancelled."""
        while True:
            client: AIOKafkaClient | None = None
            try:
                client = await connect(self._options, [self._where[0]])
                await self._follow(client)
            except (MissingTopicError, KafkaError, OSError, TimeoutError, AssertionError, UnreachableError) as error:
                self._failed_at = monotonic() if self._failed_at is None else self._failed_at
                self._failed(error)
                await asyncio.sleep(RETRY_S)
            finally:
                if client is not None:
                    await client.close()

    def _failed(self, error: Exception) -> None:
        problem = f"{self._where[0]} cannot be read: {type(error).__name__}: {error}"
        if problem != self.problem:
            self._tell(problem)
        self.problem = problem

    def _tell(self, problem: str) -> None:
        """Log why the topic cannot be read."""
        raise NotImplementedError

    async def _follow(self, client: AIOKafkaClient) -> None:
        position = -1
        looked_at = monotonic()
        while True:
            asked = list(self._asking)
            end = await (settled_end(client, self._where) if position < 0 else self._end(client, position))
            is_shorter = end < max(position, self._reached)
            if position < end or is_shorter or monotonic() - looked_at > SAME_TOPIC_S:
                await self._require_same(client)
                looked_at = monotonic()
            if is_shorter:
                raise self._lost(f"ends at offset {end}, and it reached {max(position, self._reached)} before")
            if position < end:
                found = await self._read(client, self._where, position, end)
                if position < 0:
                    self._require_known(found)
                kept = {} if position < 0 else dict(self._all)
                for name, each in found.items():
                    if each is None:
                        kept.pop(name, None)
                    else:
                        kept[name] = each
                if kept != self._all:
                    self._all = kept
                    self._changed.set()
                    self._changed = asyncio.Event()
                position = self._reached = end
                self._same.was_read()
                self.problem = self._failed_at = None
                self._is_read.set()
            self._answer(asked)
            self._is_asked.clear()
            if not self._asking:
                await first_of(self._is_asked.wait(), timeout_s=self._look_s)

    def _answer(self, asked: Sequence[asyncio.Future[None]]) -> None:
        self._asking = [each for each in self._asking if each not in asked]
        for each in asked:
            if not each.done():
                each.set_result(None)

    async def _end(self, client: AIOKafkaClient, known: int) -> int:
        """Return where the topic ends; what is being written is waited for, once and no longer than a change takes."""
        high = (await list_offsets(client, HIGH_WATERMARK, LAST, [self._where]))[self._where]
        if high <= known:
            return high
        end, deadline = known, monotonic() + WRITTEN_WITHIN_S
        while end < high:
            end = (await list_offsets(client, LAST_STABLE, LAST, [self._where]))[self._where]
            if end < high and (high == self._left_open or monotonic() > deadline):
                self._left_open = high
                break
            if end < high:
                await asyncio.sleep(OPEN_LOOK_S)
        return end

    async def _require_same(self, client: AIOKafkaClient) -> None:
        """Raise UnreachableError where the topic is another one than was read."""
        if not await self._same.look(client):
            raise UnreachableError(
                f"{self._where[0]} {MADE_ANEW}. What was known before holds yet. Write again what it lacks, if "
                f"anything; then, to go on with what is there, restart the worker."
            )

    def _require_known(self, found: Mapping[str, T | None]) -> None:
        """Check that a topic read from its beginning has every key that was known, no older than it was known.

        Compaction keeps the newest record of each key, so a missing or older one was lost.

        Raises:
            UnreachableError: one is missing or older.
        """
        for name, known in self._all.items():
            there = found.get(name)
            if name not in found or (there is not None and there.offset < known.offset):
                raise self._lost(f"lacks what it had at offset {known.offset}, and ends at offset {self._reached}")

    def _lost(self, what: str) -> UnreachableError:
        return UnreachableError(
            f"{self._where[0]}-0 {what}: {LOST_IT}. What was known before holds yet. "
            f"Restore it; or, to go on with what is there, restart the worker."
        )


class AnnouncingWriter(TransactionalWriter):
    """Asks what to write once something of it is written: who reads the topic waits for its transaction from then on.

    further: makes the last batches of the next transaction, in place of none.
    """

    further: Callable[[], Awaitable[Mapping[Where, Sequence[RecordBatch]]]] | None = None

    async def _produce(
        self, producer: int, batches: Mapping[Where, Sequence[RecordBatch]], journal: Collection[Where]
    ) -> dict[Where, list[int]]:
        produced = await super()._produce(producer, batches, journal)
        further, self.further = self.further, None
        return produced if further is None else await super()._produce(producer, await further(), journal)


class FollowedTopicWriter:
    """One writing of the topic: fence, then commit."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, topic: str, group: str) -> None:
        """Take aiokafka client options, the topic, and the group that the transaction names."""
        self._names = names
        self._group = group
        self._where = (topic, 0)
        self._writer = AnnouncingWriter(options, topic_transactional_id(topic), [topic, names.progress])

    async def fence(self) -> AIOKafkaClient:
        """Become the only writer, and return the connected client.

        Raises:
            MissingTopicError: the topic is not there, or that of progress.
        """
        client = await self._writer.connected()
        for topic in (self._where[0], self._names.progress):
            partitions_of(client, topic)
        await self._writer.fence()
        return client

    async def commit_with(
        self,
        key: bytes,
        value: bytes,
        begins: Iterable[tuple[str, str, int, Progress]],
        further: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        """Write a record, and the progress of what begins, in one transaction.

        begins: who begins, in which events topic and in which partition of it, and where. further: makes the value that
        is to hold, once one is written: readers who ask what is current wait for the transaction from then on.

        Raises:
            Refused: the topic does not take so large a record (422); nothing was begun.
            UncertainError: it took longer than readers wait; or as of `TransactionalWriter.commit`.
        """
        client = await self._writer.connected()
        count = partitions_of(client, self._names.progress)
        batches = {self._where: self._record(key, value)}
        for name, events_topic, partition, progress in begins:
            where = (self._names.progress, partition % count)
            records = batches.setdefault(where, PartitionBatches(PROGRESS_TOPIC_BYTES))
            of_partition = progress_key(name, events_topic, partition)
            records.add(of_partition, encode_progress(progress), NO_TIMESTAMP, NO_HEADERS)
        if further is not None:
            self._writer.further = partial(self._further, key, further)
        began = monotonic()

        def check(_: Mapping[Where, Sequence[int]]) -> str:
            if monotonic() - began > CHANGED_WITHIN_S:
                raise UncertainError(f"the change took longer than {CHANGED_WITHIN_S:g} s")
            return ""

        offsets = Offsets(self._group, *self._where, 0, "" if further is None else check)
        try:
            await self._writer.commit({where: each.batches for where, each in batches.items()}, offsets, {})
        except UncertainError:
            if further is not None:
                with suppress(KafkaError, OSError, TimeoutError):
                    await self._writer.fence()  # what is open ends now, and nobody waits for it
            raise

    async def _further(self, key: bytes, value: Callable[[], Awaitable[bytes]]) -> dict[Where, Sequence[RecordBatch]]:
        return {self._where: self._record(key, await value()).batches}

    def _record(self, key: bytes, value: bytes) -> PartitionBatches:
        record = PartitionBatches(SUBSCRIPTION_TOPIC_BYTES)
        if needed := record.add(key, value, NO_TIMESTAMP, NO_HEADERS):
            raise Refused(422, "too_large", f"a record of {needed:,} bytes is more than {self._where[0]} takes")
        return record

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()


async def changed_by(make: Callable[[], W], change: Callable[[W], Awaitable[A]]) -> A:
    """Make a change as the only writer, and return its result. Fenced by another writer, it is tried once more.

    Raises:
        Refused: the change may not have been made (503).
    """
    for attempt in range(ATTEMPTS):
        writer = make()
        try:
            return await change(writer)
        except (FencedError, UncertainError, UnreachableError) as error:
            if attempt == ATTEMPTS - 1:
                raise Refused(503, "not_ready", f"the change may not have been made: {error}") from error
        finally:
            await writer.close()
    raise AssertionError  # the last attempt returns or raises
