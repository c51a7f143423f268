"""Ranges of offsets, read straight from the partition leaders, and what is committed in them.

aiokafka's consumer reads ahead beyond the end of what is wanted, and makes an object of twelve members of each record.
Who reads a journal at a hundred thousand events a second, in several processes at once, asks for ranges instead.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from weakref import WeakKeyDictionary

from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    KafkaError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.waiting import in_turns
from annals.workers.kafka.protocol.record_batches import Batch, ChecksumError, damaged, whole_batches
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, leader_of, list_offsets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


FETCH_BYTES: Final = 2 << 20  # some 2,000 events, a fortieth of a second of work: the next fetch comes meanwhile
STEP_BYTES: Final = 16 << 20  # unpacked, of one step: most fetches are one
AHEAD_BYTES: Final = 4 << 20  # unpacked, of what is kept for the next call, of one partition of one subscription
MOST_AHEAD_BYTES: Final = 64 << 20  # of all of them in this process
RECORD_BYTES: Final = 250  # measured: what a record takes beside its parts
FETCH_WAIT_MS: Final = 500
LEAST_BYTES: Final = 64 << 10
PATIENCE_S: Final = 30.0  # how long a leader may be away before the reading is given up
RETRY_S: Final = 0.1
PREFERRED_REPLICA_VERSION: Final = 11  # from here on a fetch answer has one more member behind the aborted transactions


class RangeGoneError(Exception):
    """A range that was there is there no longer: the topic was cut or made anew while it was read."""


class Next(NamedTuple):
    """What one fetch brought: the committed records, where to go on, and whether there was no more at the time."""

    records: list[Record]
    next_offset: int
    is_end: bool


class _Part(NamedTuple):
    """What one fetch brought: the batches, and which transactions in them were aborted (producer, first offset).

    stable: the last stable offset at the time, or shortly before. damage: of the batch behind these, if any.
    """

    batches: list[Batch]
    aborted: list[tuple[int, int]]
    size: int
    stable: int
    damage: ChecksumError | None


async def bounds(
    client: AIOKafkaClient, wheres: Iterable[TopicPartition], isolation: int = LAST_STABLE
) -> dict[TopicPartition, tuple[int, int]]:
    """Return of each partition the first offset and the last stable one, behind which nothing is committed yet.

    isolation: HIGH_WATERMARK for the offset behind everything instead, transactions that are open included.

    Raises:
        KafkaError: a leader refuses, or is not there for half a minute.
    """
    wanted = list(wheres)
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            starts = await list_offsets(client, HIGH_WATERMARK, FIRST, wanted)
            ends = await list_offsets(client, isolation, LAST, wanted)
        except (KafkaError, OSError, TimeoutError) as error:
            await _wait_for_leader(client, error, deadline)
        else:
            return {where: (starts[where], ends[where]) for where in wanted}


async def _wait_for_leader(client: AIOKafkaClient, error: Exception, deadline: float) -> None:
    """Wait a moment after a failure that may pass, and ask for the leaders anew; raise any other as Kafka's."""
    if isinstance(error, KafkaError) and not error.retriable:
        raise error
    if asyncio.get_running_loop().time() > deadline:
        raise KafkaConnectionError(f"{type(error).__name__}: {error}") from error
    await asyncio.sleep(RETRY_S)
    await client.force_metadata_update()


async def read_range(
    client: AIOKafkaClient,
    where: TopicPartition,
    start: int,
    end: int,
    most_bytes: int = FETCH_BYTES,
    *,
    is_checked: bool = True,
    is_compacted: bool = False,
    is_proven: bool = False,
) -> AsyncGenerator[list[Record], None]:
    """Yield the committed records with offsets from `start` to below `end`, in steps of at most one fetch.

    Headers are as they stand (`annals.workers.kafka.protocol.record_batches`). `end` is at most the last stable offset.
    While one fetch is worked on, the next one is on its way. A fetch that unpacks to more than STEP_BYTES comes in
    several steps. A record that a disk changed must not pass for another one, or for none: checksums of batches are
    checked (5 % of the time), unless the caller looks at what is inside and names all that is wrong (`is_checked`); and
    that no offset is missing, also of markers and aborted ones, unless the topic `is_compacted`. is_proven: `_fetch`.

    Raises:
        KafkaError: the leader refuses, or is not there for half a minute.
        RangeGoneError: `start` is not in the partition, or `end` is not any more.
        FormatError: a record batch is of another format.
        ChecksumError: one is damaged, and all before it was yielded; the message names the partition and the offset.
    """
    position = start

    def fetch(most: int) -> asyncio.Task[_Part]:
        is_told = {"is_checked": is_checked, "is_compacted": is_compacted, "is_proven": is_proven or position > start}
        return asyncio.create_task(_fetch(client, where, position, most, **is_told))

    fetching = fetch(most_bytes) if start < end else None
    try:
        while fetching is not None:
            part = await fetching
            begin = position
            if part.batches:
                position = max(position, part.batches[-1].next_offset)
            else:
                await _require_end(client, where, end)
            fetching = None
            if position < end and part.damage is None:
                needed = part.size * (end - position) // max(1, position - begin) + LEAST_BYTES
                fetching = fetch(min(most_bytes, needed))
                await asyncio.sleep(0)  # the request goes out before the work begins
            for records in _steps(_committed(part, begin, end)):
                yield records
                await asyncio.sleep(0)  # what is packed well is many steps
            if position < end and part.damage is not None:
                raise _placed(where, part.damage)
    finally:
        if fetching is not None and not fetching.cancel() and not fetching.cancelled():
            fetching.exception()  # of what nobody wants any more: asked for, it is not told at the end of the task


async def is_overwritten(
    client: AIOKafkaClient, where: TopicPartition, offset: int, is_ours: Callable[[Record], bool] | None = None
) -> bool:
    """Whether what stands at an offset is a marker, or of a transaction that was taken back; or it is not there now.

    Whoever committed a record there knows then that it is gone, however far the partition has grown since. Where
    compaction has removed it, nothing stands there. is_ours: a record of which it says no is another's, and counts too.

    Raises:
        KafkaError, ChecksumError: as `read_range`.
    """
    try:
        part = await _fetch(client, where, offset, 1, wait_ms=0, is_checked=False, is_compacted=True)
    except RangeGoneError:
        return True
    there = [batch for batch in part.batches if batch.base_offset <= offset < batch.next_offset]
    stand = list(_committed(part._replace(batches=there), offset, offset + 1))
    is_another = is_ours is not None and not all(map(is_ours, chain.from_iterable(stand)))
    return bool(there) and (not stand or is_another)


class NextRecords:
    """The next records of one partition, some at a time; what a fetch brought beyond those is kept for the next call.

    A batch is unpacked as a whole, and gone over from its first record: of a million small ones that takes seconds.
    All in a process together keep no more than MOST_AHEAD_BYTES; where there is no room, it is brought again.
    """

    _sizes: ClassVar[WeakKeyDictionary[NextRecords, int]] = WeakKeyDictionary()  # of those that keep something

    def __init__(self) -> None:
        """Begin with none."""
        self._ahead: list[Record] = []
        self._start = -1
        self._is_damaged = False  # there, behind what was read before
        self._behind = Next([], 0, is_end=False)

    async def read(self, client: AIOKafkaClient, where: TopicPartition, start: int, most: int) -> Next:
        """Return the committed records that are there from an offset on, by one request that does not wait for others.

        most: records. What unpacks to more than STEP_BYTES is brought again, and so is what is more than `most` and
        AHEAD_BYTES, or has no room. It is never the end where records are not of a fetch of this call.

        Raises:
            KafkaError, RangeGoneError, FormatError, ChecksumError: as `read_range`.
        """
        is_new = not self._ahead or self._start != start
        if is_new:
            self._keep([], 0)
            # The batch before a damaged one, with which brokers send it: asked for itself they may pass over it.
            since = start - 1 if self._is_damaged and self._start == start else start
            is_proven = start == self._behind.next_offset  # behind what was read before
            found, self._is_damaged = await _next(client, where, since, start, most, is_proven=is_proven)
            self._behind = found._replace(records=[])
            ahead, size = found.records, sum(map(_size, found.records))
        else:
            ahead, size = self._ahead, self._sizes[self]
        records, ahead = ahead[:most], ahead[most:]
        self._start = records[-1][0] + 1 if ahead else self._behind.next_offset
        self._keep(ahead, size - sum(map(_size, records)))
        return Next(records, self._start, is_end=is_new and not ahead and self._behind.is_end)

    def _keep(self, ahead: list[Record], size: int) -> None:
        """Keep records of so many bytes for the next call where there is room for them, instead of those before."""
        self._sizes.pop(self, None)
        self._ahead = ahead if size <= MOST_AHEAD_BYTES - sum(self._sizes.values()) else []
        if self._ahead:
            self._sizes[self] = size


async def _next(
    client: AIOKafkaClient, where: TopicPartition, since: int, start: int, most: int, *, is_proven: bool
) -> tuple[Next, bool]:
    """Return what one fetch brings from an offset on: so many, or more up to AHEAD_BYTES.

    Also whether the batch behind that is damaged. since: where the fetch begins; is_proven: see `_fetch`.
    """
    part = await _fetch(client, where, since, FETCH_BYTES, wait_ms=0, is_proven=is_proven)
    next_offset = max(start, part.batches[-1].next_offset) if part.batches else start
    if part.damage is not None and next_offset == start:
        raise _placed(where, part.damage)
    records: list[Record] = []
    size = 0
    async with aclosing(in_turns(chain.from_iterable(_committed(part, start, next_offset)), TURN_RECORDS)) as turns:
        async for some in turns:
            for record in some:
                records.append(record)
                size += _size(record)
                if size > STEP_BYTES or (len(records) >= most and size > AHEAD_BYTES):
                    return Next(records, record[0] + 1, is_end=record[0] + 1 >= part.stable), False
    is_damaged = part.damage is not None
    return Next(records, next_offset, is_end=next_offset >= part.stable and not is_damaged), is_damaged


async def _require_end(client: AIOKafkaClient, where: TopicPartition, end: int) -> None:
    """Wait for nothing that an unclean election took since the end was asked for: it never comes."""
    there = (await bounds(client, [where]))[where][1]
    if there < end:
        raise RangeGoneError(
            f"{where.topic}-{where.partition} ends at {there} and reached {end} when its end was asked for"
        )


async def _fetch(
    client: AIOKafkaClient,
    where: TopicPartition,
    position: int,
    limit: int,
    wait_ms: int = FETCH_WAIT_MS,
    *,
    is_checked: bool = True,
    is_compacted: bool = False,
    is_proven: bool = False,
) -> _Part:
    """Return what one fetch brings. is_proven: whether what was read before ends at the position."""
    topic, partition = where
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            leader = leader_of(client, where)
            request = FetchRequest(wait_ms, 1, limit, LAST_STABLE, [(topic, [(partition, position, limit)])])
            answer = await client.send(leader, request)
            deadline += answer.throttle_time_ms / 1000  # what a quota takes is not the leader's being away
            is_told = {"is_checked": is_checked, "is_compacted": is_compacted}
            part = _part(where, answer, position, **is_told) if answer.topics else None
            if part is not None and (part.batches or part.stable <= position):
                if part.batches and part.batches[-1].next_offset > part.stable:
                    part = _bounded(part, (await bounds(client, [where]))[where][1])
                break
            if asyncio.get_running_loop().time() > deadline:
                raise _unread(position) if part else _unsent(where)
            wait_ms = FETCH_WAIT_MS  # in less, tiered storage may have nothing each time
            await asyncio.sleep(RETRY_S)
        except ChecksumError as error:
            raise _placed(where, error) from error
        except CorruptRecordException as error:
            raise _placed(where, _unread(position)) from error
        except OffsetOutOfRangeError as error:
            raise RangeGoneError(
                f"{topic}-{partition} has no offset {position} any more: it was cut or made anew while it was read"
            ) from error
        except (KafkaError, OSError, TimeoutError) as error:
            await _wait_for_leader(client, error, deadline)
    if len(part.batches) == 1 and (base := part.batches[0].base_offset) and not (is_proven or is_compacted):
        await _require_place(client, where, base)
    return part


async def _require_place(client: AIOKafkaClient, where: TopicPartition, base: int) -> None:
    """Prove the base offset of a batch that came alone: asked for the offset before it, a broker sends what has that.

    It sends the batch itself where a disk led that forward. Of several in an answer each is proven by another.

    Raises:
        KafkaError, ChecksumError: as `read_range`.
    """
    try:
        before = await _fetch(client, where, base - 1, 1, wait_ms=0, is_checked=False, is_compacted=True)
    except (RangeGoneError, ChecksumError):  # it is the first one that is there, or that one is damaged
        return
    if before.batches and before.batches[0].base_offset == base:
        raise _placed(where, damaged(base - 1, f"what is there begins at offset {base}", base))


def _part(where: TopicPartition, answer: Any, start: int, **is_told: bool) -> _Part:
    (((_, ((_, code, *members),)),),) = (answer.topics,)
    if code:
        raise for_code(code)(f"{where.topic}-{where.partition}")
    data = members[-1] or b""
    aborted = members[-3] if answer.API_VERSION >= PREFERRED_REPLICA_VERSION else members[-2]
    batches, damage = whole_batches(data, start, **is_told)
    return _Part(batches, sorted(aborted or [], key=lambda each: each[1]), len(data), members[1], damage)


def _bounded(part: _Part, end: int) -> _Part:
    """Return what was fetched below the last stable offset of now: what leads beyond it has another base offset.

    Raises:
        ChecksumError: the first batch does.
    """
    batches = list(takewhile(lambda batch: batch.next_offset <= end, part.batches))
    if batches == part.batches:
        return part._replace(stable=end)
    beyond = part.batches[len(batches)]
    error = damaged(beyond.base_offset, f"it ends below offset {beyond.next_offset}, and the partition at {end}")
    if not batches:
        raise error
    return part._replace(batches=batches, stable=end, damage=error)


def _placed(where: TopicPartition, error: ChecksumError) -> ChecksumError:
    return ChecksumError(f"{where.topic}-{where.partition}: {error}", error.offset, error.goes_on_at)


def _unsent(where: TopicPartition) -> RequestTimedOutError:
    """Say why answers have no partition: what is asked next, a broker reads when a quota's time is over (KIP-219)."""
    return RequestTimedOutError(f"a quota has the brokers send nothing of {where.topic}-{where.partition}")


def _unread(offset: int) -> ChecksumError:
    """Say what is wrong where a broker does not find its way to an offset: a length is not what it was."""
    message = f"the record batch at offset {offset} is damaged, or one before it: its broker cannot read on"
    return ChecksumError(message, offset)


def _steps(batches: Iterable[Iterable[Record]]) -> Iterator[list[Record]]:
    """Yield the records of batches in lists of not much more than STEP_BYTES, at least one list."""
    step: list[Record] = []
    size = 0
    for batch in batches:
        for record in batch:
            step.append(record)
            size += _size(record)
            if size > STEP_BYTES:
                yield step
                step, size = [], 0
    yield step


def _size(record: Record) -> int:
    return RECORD_BYTES + len(record[1] or b"") + len(record[2] or b"") + len(record[3])


def _committed(part: _Part, start: int, end: int) -> Iterator[Iterable[Record]]:
    """Yield the batches' records from `start` to below `end` that no transaction took back, without markers (KIP-98).

    A batch is unpacked when it is come to.
    """
    aborted, aborting = list(part.aborted), set()
    for batch in part.batches:
        while aborted and aborted[0][1] <= batch.base_offset:
            aborting.add(aborted.pop(0)[0])
        if batch.is_control:
            if batch.is_abort():
                aborting.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in aborting):
            is_whole = start <= batch.base_offset and batch.next_offset <= end
            yield batch.records() if is_whole else (each for each in batch.records() if start <= each[0] < end)
