"""What a leader may answer to who reads a range: more than was stable, nothing for a while, changed offsets."""

from __future__ import annotations

import struct
from itertools import dropwhile, islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.protocol.record_batches import ChecksumError
from annals.workers.kafka.read import ranges
from annals.workers.kafka.read.offsets import FIRST
from annals.workers.kafka.read.ranges import FETCH_WAIT_MS, NextRecords, is_overwritten, read_range
from annals.workers.kafka.read.single_record import record_at
from annals.workers.kafka.write.batches import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

WHERE = TopicPartition("acks.all", 0)
VERSION = 5
LAST_AT, CHECKSUM_AT, CHECKED_AT = 23, 17, 21


def batch(base: int, count: int, last: int | None = None) -> bytes:
    """A batch as it lies in the log. last: its last offset, where compaction has taken records from its end."""
    built = RecordBatch("none")
    built.fill([(b"k", b"v", NO_TIMESTAMP, encode_headers([]))] * count, 0, 1 << 20)
    data = bytearray(built.build(1, 0, 0))
    if last is not None:
        struct.pack_into(">i", data, LAST_AT, last - base)
        struct.pack_into(">I", data, CHECKSUM_AT, calc_crc32c(bytes(data[CHECKED_AT:])))
    return base.to_bytes(8, "big") + bytes(data[8:])


def based_on(batch: bytes, base: int) -> bytes:
    """The same batch with another base offset, which is in no checksum."""
    return base.to_bytes(8, "big", signed=True) + batch[8:]


def to_last(batch: bytes, last: int) -> bytes:
    """The same batch with another last offset, counted from its base; its checksum is wrong then."""
    return batch[:LAST_AT] + last.to_bytes(4, "big", signed=True) + batch[LAST_AT + 4 :]


def rotten(batch: bytes) -> bytes:
    """The same batch with another byte in its last record."""
    return batch[:-2] + bytes([batch[-2] ^ 1]) + batch[-1:]


class Leader:
    """Serves a partition as Kafka does: from the first batch on that does not end, by its own words, below an offset.

    stable: the last stable offset that a fetch says, which may be older than what it brings; end: the one at present;
    most: how many batches have room in an answer.
    """

    def __init__(self, batches: Sequence[bytes], stable: int, end: int | None = None, most: int | None = None) -> None:
        self.most = most
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)
        self.batches, self.stable, self.end = list(batches), stable, stable if end is None else end
        self.empty: list[tuple[bool, int]] = []  # answers to come: whether of the partition, for how long throttled
        self.waits: list[int] = []
        self.asked_for_leaders = 0

    async def force_metadata_update(self) -> None:
        self.asked_for_leaders += 1

    async def send(self, node: int, request: Any) -> Any:
        ((topic, ((partition, position, *_),)),) = request._topics
        if isinstance(request, OffsetRequest):
            offset = 0 if position == FIRST else self.end
            return SimpleNamespace(topics=[(topic, [(partition, 0, -1, offset)])])
        self.waits.append(request._max_wait_ms)
        data, is_of_partition, throttled_ms = b"", True, 0
        if self.empty:
            is_of_partition, throttled_ms = self.empty.pop(0)
        else:
            found = dropwhile(lambda each: sum(struct.unpack_from(">q15xi", each)) < position, self.batches)
            data = b"".join(islice(found, self.most))
        answered = [(partition, 0, self.end, self.stable, 0, [], data)]
        topics = [(topic, answered)] if is_of_partition else []
        return SimpleNamespace(topics=topics, throttle_time_ms=throttled_ms, API_VERSION=VERSION)


async def read(leader: Leader, end: int, **is_told: bool) -> list[int]:
    """The offsets of a range."""
    found: list[int] = []
    await read_into(found, leader, end, **is_told)
    return found


async def read_into(found: list[int], leader: Any, end: int, start: int = 0, **is_told: bool) -> None:
    async for some in read_range(leader, WHERE, start, end, **is_told):
        found += [record[0] for record in some]


async def next_of(reader: NextRecords, leader: Any, start: int) -> tuple[list[int], int, bool]:
    records, next_offset, is_end = await reader.read(leader, WHERE, start, 100)
    return [record[0] for record in records], next_offset, is_end


THREE = batch(0, 3), batch(3, 2), batch(5, 2)


async def test_what_became_stable_while_it_was_fetched_is_read() -> None:
    """Goes red when answers that were committed meanwhile are passed over: a fetch says the end of before it."""
    for leader in (Leader(THREE, 3, 7), Leader(THREE[:2], 4, 5)):
        offsets = list(range(leader.end))
        assert await next_of(NextRecords(), leader, 0) == (offsets, leader.end, True)
        assert await read(leader, leader.end) == offsets


async def test_what_is_before_the_wanted_offset_is_left_out() -> None:
    assert await next_of(NextRecords(), Leader(THREE, 7), 1) == ([1, 2, 3, 4, 5, 6], 7, True)


async def test_a_leader_that_sends_nothing_for_a_while_is_asked_again() -> None:
    """Goes red when tiered storage that is slow, or beyond its quota, passes for damage."""
    leader = Leader(THREE, 7)
    leader.empty = [(True, 0)] * 2
    assert await read(leader, 7) == list(range(7))
    leader.empty, leader.waits = [(True, 0)], []
    assert await next_of(NextRecords(), leader, 0) == (list(range(7)), 7, True)
    assert leader.waits == [0, FETCH_WAIT_MS]  # one that may not wait may never bring what is elsewhere
    assert leader.asked_for_leaders == 0


async def test_one_that_sends_nothing_for_good_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PATIENCE_S", 0)
    with pytest.raises(ChecksumError, match=r"acks\.all-0: the record batch at offset 0 is damaged, or one before it"):
        await read(Leader([], 7), 7)
    with pytest.raises(ChecksumError, match="the record batch at offset 7 is damaged, or one before it"):
        await next_of(NextRecords(), Leader(THREE, 9), 7)


async def test_the_time_that_a_quota_takes_is_none_for_which_a_leader_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a quota ends a reading, or has the leaders asked for at each answer."""
    monkeypatch.setattr(ranges, "PATIENCE_S", 0)
    leader = Leader(THREE, 7)
    leader.empty = [(False, 60_000), (True, 60_000), (False, 60_000)]
    assert await read(leader, 7) == list(range(7))
    assert leader.asked_for_leaders == 0
    leader.empty = [(False, 0)] * 100
    with pytest.raises(KafkaConnectionError, match=r"a quota has the brokers send nothing of acks\.all-0"):
        await read(leader, 7)


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize(
    ("second", "said"),
    [
        (based_on(THREE[1], 0), "it begins at offset 0, and those before it reach to 3"),
        (based_on(THREE[1], 1), "it begins at offset 1, and those before it reach to 3"),
        (based_on(THREE[1], -(2**62)), "it begins at offset"),
        (to_last(THREE[1], -1), "it ends below offset 3, and those before it reach to 3"),
        (to_last(THREE[1], -(2**31)), "it ends below offset"),
        (to_last(THREE[1], 9), "its checksum is not"),
        (based_on(THREE[1], 2**40), "what is there begins at offset 1099511627776"),
        (based_on(THREE[1], 6), "what is there begins at offset 6"),
    ],
    ids=["base 0", "base 1", "base -2**62", "last -1", "last -2**31", "last 9", "base 2**40", "base 6"],
)
async def test_a_batch_behind_others_that_a_broker_would_pass_over_is_named(
    second: bytes, said: str, *, is_checked: bool
) -> None:
    """Goes red when its records are as good as gone: who asks for what is behind the good ones is not sent it."""
    leader, found, reader = Leader([THREE[0], second, THREE[2]], 7), list[int](), NextRecords()
    with pytest.raises(ChecksumError, match=rf"acks\.all-0: the record batch at offset -?\d+ is damaged: {said}"):
        await read_into(found, leader, 7, is_checked=is_checked)
    assert found == [0, 1, 2]
    assert await read(leader, 3, is_checked=is_checked) == [0, 1, 2]  # a range that ends there is whole
    assert await next_of(reader, leader, 0) == ([0, 1, 2], 3, False)
    with pytest.raises(ChecksumError, match=said):
        await next_of(reader, leader, 3)


@pytest.mark.parametrize("is_checked", [True, False])
async def test_a_batch_that_leads_beyond_the_end_is_named_in_a_compacted_topic_too(*, is_checked: bool) -> None:
    leader, found = Leader([based_on(THREE[0], 1000), *THREE[1:]], 7), list[int]()
    with pytest.raises(ChecksumError, match="the record batch at offset 1000 is damaged: it ends below offset 1003"):
        await read(leader, 7, is_checked=is_checked, is_compacted=True)
    leader.batches = [THREE[0], based_on(THREE[1], 6), THREE[2]]
    with pytest.raises(ChecksumError, match="it ends below offset 8, and the partition at 7"):
        await read_into(found, leader, 7, is_checked=is_checked, is_compacted=True)
    assert found == [0, 1, 2]


FIVE = *THREE, batch(7, 2), batch(9, 2)


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("most", [1, 2, None])
@pytest.mark.parametrize("base", [4, 5, 7, 9])
async def test_a_base_offset_that_leads_forward_within_the_log_is_named(
    base: int, most: int | None, *, is_checked: bool
) -> None:
    """Goes red when what is up to there is passed over in silence: the last one in an answer overlaps with none."""
    leader, found, reader = (
        Leader([FIVE[0], based_on(FIVE[1], base), *FIVE[2:]], 11, most=most),
        list[int](),
        NextRecords(),
    )
    named = f"acks.all-0: the record batch at offset 3 is damaged: what is there begins at offset {base}"
    with pytest.raises(ChecksumError, match=named):
        await read_into(found, leader, 11, is_checked=is_checked)
    assert found == [0, 1, 2]
    assert await next_of(reader, leader, 0) == ([0, 1, 2], 3, False)
    with pytest.raises(ChecksumError, match=named):
        await next_of(reader, leader, 3)
    # Who begins behind it is sent it first, as it ends behind what was asked for.
    for start in range(5, base + (most != 1)):
        behind = list[int]()
        with pytest.raises(ChecksumError, match=f"the record batch at offset {start} is damaged: "):
            await read_into(behind, leader, 11, start, is_checked=is_checked)
        assert behind == []


async def test_offsets_that_a_segment_took_along_are_named() -> None:
    """Goes red when events are gone from the middle of a journal, and no later one of their aggregates says so."""
    with pytest.raises(
        ChecksumError, match="the record batch at offset 3 is damaged: what is there begins at offset 7"
    ):
        await read(Leader([FIVE[0], *FIVE[3:]], 11), 11)


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("most", [1, 2, None])
async def test_offsets_that_compaction_took_are_no_damage(most: int | None, *, is_checked: bool) -> None:
    """Goes red when a compacted topic is held up: it lacks its beginning, ends of batches, and whole ones."""
    compacted = batch(2, 1, last=3), batch(7, 2), batch(12, 1, last=15), batch(20, 2)
    found = await read(Leader(compacted, 22, most=most), 22, is_checked=is_checked, is_compacted=True)
    assert found == [2, 7, 8, 12, 20, 21]


async def test_a_damaged_batch_of_a_compacted_topic_takes_nothing_else_away_where_all_is_looked_at() -> None:
    """Goes red when one damaged older record has a whole partition of restore points or snapshots refused."""
    compacted = batch(0, 2, last=4), rotten(batch(5, 1, last=7)), batch(8, 2)
    leader = Leader(compacted, 10)
    assert await read(leader, 10, is_checked=False, is_compacted=True) == [0, 1, 5, 8, 9]
    found: list[int] = []
    with pytest.raises(ChecksumError, match="the record batch at offset 5 is damaged: its checksum is not"):
        await read_into(found, leader, 10, is_compacted=True)
    assert found == [0, 1]
    # Where nothing tells that its last offset is what it was, what is behind that may be passed over.
    with pytest.raises(ChecksumError, match="the record batch at offset 5 is damaged: its checksum is not"):
        await read(Leader(compacted[:2], 8), 8, is_checked=False, is_compacted=True)


async def test_who_looks_for_one_record_waits_once_for_a_leader_that_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goes red when it is asked for another half a minute without the checksum, as if that were what is wrong."""
    monkeypatch.setattr(ranges, "PATIENCE_S", -1)  # one answer is enough
    leader = Leader([], 7)
    with pytest.raises(ChecksumError, match="the record batch at offset 0 is damaged, or one before it"):
        await record_at(leader, WHERE, 0)
    assert len(leader.waits) == 1


async def test_who_looks_for_one_record_learns_that_its_offset_may_be_elsewhere() -> None:
    """Goes red when an event passes for one that is gone, and a healthy journal for one that lost its end."""
    leader = Leader([FIVE[0], based_on(FIVE[1], 7), *FIVE[2:]], 11)
    for offset in (3, 5):
        with pytest.raises(ChecksumError, match=f"the record batch at offset {offset} is damaged: what is there"):
            await record_at(leader, WHERE, offset)
    assert await record_at(leader, WHERE, 5, is_compacted=True) is None


async def test_what_compaction_has_taken_is_not_overwritten() -> None:
    """Goes red when the last row of a publisher or reactor, which compaction took, passes for damage or for a loss."""
    for gone in ([batch(0, 3), batch(5, 2)], [batch(5, 2)], [batch(0, 2, last=4), batch(5, 2)]):
        assert not await is_overwritten(Leader(gone, 7), WHERE, 4)
