"""Header names that are not UTF-8: read by the worker's consumers as they are, and written again as they were."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import ConsumerRecord, TopicPartition

from annals.topics.carried import carried_headers
from annals.topics.headers import dead_letter_headers, forwarded_headers
from annals.topics.wire import encode_headers
from annals.workers.kafka.group.header_names import (
    DamagedFetchError,
    Unreadable,
    _Fetched,
    _FetchResult,
    _PartitionRecords,
    carried_alone,
    of_whole_topic,
    undressed,
)
from annals.workers.kafka.group.lone_batches import MISPLACED
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.write.batches import CODECS, RecordBatch

STRAY = b"\xff\xfename".decode(errors="surrogateescape")
HEADERS: list[tuple[str, bytes | None]] = [("before", b"1"), (STRAY, b"2"), (STRAY, None), ("after", b"")]
CHECKED = True
T0 = 1_770_000_000_000


def batch(
    base: int, records: Iterable[list[tuple[str, bytes | None]]], codec: str = "none", producer: int = 7
) -> bytes:
    """A transactional batch with a record per list of headers, as it lies in the log from offset `base` on."""
    built = RecordBatch(codec)
    for number, headers in enumerate(records):
        value = None if number == 1 else b"value %d" % number
        assert built.fill([(b"key", value, T0 + number, encode_headers(headers))], 0, 1 << 20) == 1
    return base.to_bytes(8, "big") + built.build(producer, 0, 0)[8:]


def read(
    data: bytes,
    start: int = 0,
    aborted: list[tuple[int, int]] | None = None,
    deserializer: Callable[[bytes | None], bytes | None] | None = undressed,
) -> list[Any]:
    """What the worker's consumer makes of a fetch."""
    where = TopicPartition("commands.person", 0)
    return list(_PartitionRecords(where, _Fetched(data), aborted, start, None, deserializer, CHECKED, READ_COMMITTED))


def test_a_shards_records_say_what_aiokafkas_own_say_and_are_not_made_into_them() -> None:
    data = batch(0, [[("x", b"1"), ("y", None)], []]) + batch(2, [HEADERS])
    own, plain = read(data, deserializer=None), read(data)
    assert [type(record) for record in own] == [ConsumerRecord] * 3
    assert ConsumerRecord not in map(type, plain)
    assert [(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in plain] == [
        (each.offset, each.timestamp, each.key, each.value, each.headers) for each in own
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_with_such_a_name_is_read_whole_and_so_are_its_neighbours(codec: str) -> None:
    plain = [("x", b"1")]
    data = batch(0, [plain, plain], codec) + batch(2, [plain, HEADERS, plain], codec) + batch(5, [plain], codec)
    found = read(data)
    assert [record.offset for record in found] == [0, 1, 2, 3, 4, 5]
    assert [list(record.headers) for record in found] == [plain, plain, plain, HEADERS, plain, plain]
    assert [record.key for record in found] == [b"key"] * 6
    assert [record.value for record in found] == [b"value 0", None, b"value 0", None, b"value 2", b"value 0"]
    assert [record.timestamp - T0 for record in found] == [0, 1, 0, 1, 2, 0]


def test_what_was_before_the_wanted_offset_and_what_is_cut_off_are_left_out() -> None:
    data = batch(0, [HEADERS] * 3)
    assert [record.offset for record in read(data + data[:40], start=1)] == [1, 2]
    assert [record.offset for record in read(data + data[:-1], start=2)] == [2]


def marker(base: int, producer: int) -> bytes:
    """The mark of an aborted transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 10)
    builder.append(0, T0, b"\x00\x00\x00\x00", b"\x00" * 6, [])
    built = bytearray(builder.build())
    built[22] |= 0x20  # a control batch
    built[17:21] = calc_crc32c(bytes(built[21:])).to_bytes(4, "big")
    return base.to_bytes(8, "big") + bytes(built[8:])


def test_what_was_aborted_is_passed_over_and_what_its_producer_wrote_afterwards_is_not() -> None:
    plain = [("x", b"1")]
    data = batch(0, [plain], producer=1) + marker(1, 1) + batch(2, [HEADERS], producer=1) + batch(3, [plain])
    assert [record.offset for record in read(data, aborted=[(1, 0)])] == [2, 3]
    data = batch(0, [HEADERS], producer=2) + batch(1, [HEADERS], producer=1) + marker(2, 1) + batch(3, [plain])
    assert [record.offset for record in read(data, aborted=[(1, 1)])] == [0, 3]


def test_a_copy_and_a_dead_letter_carry_the_bytes_of_the_name() -> None:
    original = encode_headers(HEADERS)
    for more in (
        forwarded_headers(HEADERS, 1, 2),
        dead_letter_headers(HEADERS, "not_json", "", "commands.person", 0, 1, 2),
    ):
        written = encode_headers(more)
        assert written[1:].startswith(original[1:])
        assert headers_of(written)[: len(HEADERS)] == HEADERS
        assert all(name.isascii() for name, _ in headers_of(written)[len(HEADERS) :])


TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


@pytest.mark.parametrize("codec", CODECS)
def test_a_journals_records_are_the_same_with_their_carried_headers_alone(codec: str) -> None:
    plain = [("x", b"1")]
    data = batch(0, [plain, plain, [*plain, TRACE]], codec, producer=1) + marker(3, 1) + batch(4, [HEADERS], codec)
    data += batch(5, [[TRACE, *HEADERS], []], codec)
    for aborted in (None, [(1, 0)]):
        for start in (0, 1, 5):
            whole, found = read(data, start, aborted), read(data, start, aborted, carried_alone)
            assert [each[:4] for each in map(parts, found)] == [each[:4] for each in map(parts, whole)]
            assert [list(each.headers) for each in found] == [carried_headers(each.headers) for each in whole]
    assert [list(each.headers) for each in read(data, deserializer=carried_alone)] == [[], [], [TRACE], [], [TRACE], []]


def parts(record: Any) -> tuple[Any, ...]:
    """Offset, key, value, the time of the batch, and headers."""
    return record.offset, record.key, record.value, record.timestamp // 1000, record.headers


DAMAGED = "events.person-0: the record batch at offset 1 is damaged: its checksum, its length or an offset is wrong"


def before_and_in_a_damaged_batch(deserializer: Any) -> _PartitionRecords:
    data = bytearray(batch(0, [HEADERS]) + batch(1, [HEADERS]))
    data[-1] ^= 1
    where = TopicPartition("events.person", 0)
    return _PartitionRecords(where, _Fetched(bytes(data)), None, 0, None, deserializer, CHECKED, READ_COMMITTED)


@pytest.mark.parametrize("deserializer", [carried_alone, undressed])
def test_of_a_shards_batch_that_is_damaged_nothing_is_read_and_the_place_is_named(deserializer: Any) -> None:
    """Goes red when one batch ends all of a worker's fetches."""
    records = before_and_in_a_damaged_batch(deserializer)
    first, second = records
    assert (first.offset, second) == (0, Unreadable(1, DAMAGED))
    assert records.next_fetch_offset == 1


@pytest.mark.parametrize("length", [-(2**31), -12, 0, 48, 1 << 20])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("deserializer", [undressed, carried_alone])
def test_of_a_batch_whose_length_is_wrong_the_place_is_named(length: int, deserializer: Any, *, before: bool) -> None:
    """Goes red when it ends all of a worker's fetches, or is read for ever: brokers send a first batch whole."""
    whole, damaged = batch(0, [[]]), batch(1, [[]])
    damaged = damaged[:8] + length.to_bytes(4, "big", signed=True) + damaged[12:]
    found = read(whole + damaged if before else damaged, 0 if before else 1, deserializer=deserializer)
    assert [each.offset for each in found[: len(found) - 1 if not before or length < 1 << 20 else None]] == [0] * before
    if not before or length < 1 << 20:  # behind another one it may be cut off, and the next fetch begins with it
        assert found[-1] == Unreadable(1, DAMAGED.replace("events", "commands"))


@pytest.mark.parametrize("size", [1, 11, 12, 16, 60])
@pytest.mark.parametrize("deserializer", [undressed, carried_alone])
def test_of_a_batch_of_which_there_are_some_bytes_alone_the_place_is_named(size: int, deserializer: Any) -> None:
    """Goes red when what a broker sends of a file that ends early fails all of a worker's fetches."""
    (told,) = read(batch(1, [[]])[:size], 1, deserializer=deserializer)
    assert told == Unreadable(1, DAMAGED.replace("events", "commands"))


def other_base(data: bytes, base: int) -> bytes:
    return base.to_bytes(8, "big", signed=True) + data[8:]


def other_last(data: bytes, last: int) -> bytes:
    return data[:23] + last.to_bytes(4, "big", signed=True) + data[27:]


@pytest.mark.parametrize("headers", [[], HEADERS], ids=["aiokafka's decoder", "ours"])
@pytest.mark.parametrize("deserializer", [undressed, carried_alone])
@pytest.mark.parametrize(
    "damaged",
    [lambda data: other_base(data, 0), lambda data: other_base(data, -1), lambda data: other_last(data, -1)],
    ids=["base 0", "base -1", "last -1"],
)
def test_of_a_batch_whose_offset_leads_back_the_place_is_named(
    damaged: Callable[[bytes], bytes], deserializer: Any, headers: list[Any]
) -> None:
    """Goes red when it is passed over, and what is behind it is read: the base offset of a batch is in no checksum."""
    data = batch(0, [headers]) + damaged(batch(1, [headers])) + batch(2, [headers])
    first, second = read(data, deserializer=deserializer)
    assert (first.offset, second) == (0, Unreadable(1, DAMAGED.replace("events", "commands")))


@pytest.mark.parametrize("headers", [[], HEADERS], ids=["aiokafka's decoder", "ours"])
@pytest.mark.parametrize("deserializer", [undressed, carried_alone])
@pytest.mark.parametrize("base", [2, 3, 1000])
@pytest.mark.parametrize("behind", [True, False])
def test_of_a_batch_whose_offset_leads_forward_the_place_is_named(
    base: int, deserializer: Any, headers: list[Any], *, behind: bool
) -> None:
    """Goes red when the next fetch begins behind what is there: those commands or events are as good as gone."""
    told = Unreadable(1, DAMAGED.replace("events", "commands"))
    damaged = other_base(batch(1, [headers]), base) + (batch(2, [headers]) if behind else b"")
    first, second = read(batch(0, [headers]) + damaged, deserializer=deserializer)
    assert (first.offset, second) == (0, told)
    assert read(damaged, 1, deserializer=deserializer) == [told]
    # Who has read what was there before is sent it in the place of what it hides: of two that overlap none is believed.
    hiding = other_base(batch(1, [headers]), base) + batch(base, [headers])
    assert [each.offset for each in read(hiding, base, deserializer=deserializer)] == [base]
    assert type(read(hiding, base, deserializer=deserializer)[0]) is Unreadable


@pytest.mark.parametrize("headers", [[], HEADERS], ids=["aiokafka's decoder", "ours"])
@pytest.mark.parametrize("deserializer", [undressed, carried_alone])
def test_of_a_batch_that_is_known_to_be_misplaced_the_place_is_named(deserializer: Any, headers: list[Any]) -> None:
    fetched = _Fetched(batch(5, [headers]))
    fetched.doubt = MISPLACED
    where = TopicPartition("commands.person", 0)
    found = list(_PartitionRecords(where, fetched, None, 5, None, deserializer, CHECKED, READ_COMMITTED))
    assert found == [Unreadable(5, f"commands.person-0: the record batch at offset 5 {MISPLACED}")]


@pytest.mark.parametrize(
    ("data", "lone"),
    [
        (batch(5, [[]]), 5),
        (batch(0, [[]]), None),
        (batch(5, [[]]) + batch(6, [[]]), None),
        (batch(5, [[]]) + batch(6, [[]])[:12], None),
        (batch(5, [[]]) + batch(6, [[]])[:11], 5),
        (b"", None),
    ],
    ids=["alone", "the first of all", "with another", "with the head of another", "with less than that", "nothing"],
)
def test_a_batch_is_alone_where_no_other_says_where_it_is(data: bytes, lone: int | None) -> None:
    fetched = _Fetched(data)
    assert fetched.lone_base is None  # some may be missing
    fetched.whole_from = 5
    assert fetched.lone_base == lone


def test_whoever_reads_a_partition_by_itself_learns_of_an_offset_that_leads_forward() -> None:
    for headers in ([], HEADERS):
        with pytest.raises(DamagedFetchError, match="the record batch at offset 1 is damaged"):
            read(batch(0, [headers]) + batch(3, [headers]), deserializer=of_whole_topic)


@pytest.mark.parametrize("deserializer", [None, bytes])
def test_other_consumers_of_the_process_read_topics_that_are_compacted(deserializer: Any) -> None:
    """Goes red when a program that waits for outcomes can no longer read compacted topics of its own."""
    for headers in ([], HEADERS):
        data = batch(0, [headers]) + batch(3, [headers])
        assert [each.offset for each in read(data, deserializer=deserializer)] == [0, 3]
        assert [each.offset for each in read(data[len(data) // 2 :], deserializer=deserializer)] == [3]


@pytest.mark.parametrize("magic", [0, 1])
def test_short_messages_of_older_formats_are_read(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, compression_type=0, batch_size=1 << 20)
    for offset in (5, 6):
        builder.append(offset, timestamp=T0, key=b"k", value=b"v")
    assert [(each.offset, each.key, each.value) for each in read(bytes(builder.build()))] == [
        (offset, b"k", b"v") for offset in (5, 6)
    ]


def test_whoever_reads_a_partition_by_itself_learns_that_a_batch_is_damaged() -> None:
    records = before_and_in_a_damaged_batch(None)
    assert next(records).offset == 0
    with pytest.raises(DamagedFetchError) as told:
        next(records)
    assert isinstance(told.value, CorruptRecordException)
    assert str(told.value) == DAMAGED


async def test_what_is_whole_before_a_damaged_batch_is_handed_out_before_that_is_told() -> None:
    """Goes red when a command at an offset is refused for what is behind it in the same fetch."""
    where = TopicPartition("events.person", 0)
    assignment = Assignment([where])
    assignment.state_value(where).seek(0)
    first = _FetchResult(where, assignment=assignment, partition_records=before_and_in_a_damaged_batch(None), backoff=0)
    assert [record.offset for record in first.getall()] == [0]
    assert assignment.state_value(where).position == 1
    assert not first.has_more()  # the next fetch begins with the damaged batch
    data = bytearray(batch(1, [HEADERS]))
    data[-1] ^= 1
    records = _PartitionRecords(where, _Fetched(bytes(data)), None, 1, None, None, CHECKED, READ_COMMITTED)
    second = _FetchResult(where, assignment=assignment, partition_records=records, backoff=0)
    with pytest.raises(DamagedFetchError):
        second.getall()
