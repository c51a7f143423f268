"""Whatever a record unpacks to, its readers hold no more of it than they say."""

import gzip
import tracemalloc
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled_records
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.wire.dead_letter import TOO_LARGE, DeadLetter
from annals.schemas.wire.reading import read_command
from annals.topics.encoded_headers import EncodedHeaders, encode_with_more
from annals.topics.wire import encode_headers, varint
from annals.workers.audit.expected_headers import differences
from annals.workers.kafka.group import header_names
from annals.workers.kafka.group.header_names import (
    _Fetched,
    _FetchResult,
    _PartitionRecords,
    reading_consumer,
    undressed,
)
from annals.workers.kafka.protocol import unpacking
from annals.workers.kafka.protocol.record_batches import MOST_UNREAD, batches_of, headers_of
from annals.workers.kafka.protocol.unpacking import MOST_HEADERS, OversizedError, bound_aiokafka, unpack
from annals.workers.kafka.read.ranges import STEP_BYTES, _steps
from annals.workers.kafka.write.batches import CODECS, RecordBatch

CHECKED = True
COMPRESSED = [codec for codec in CODECS if codec != "none"]
T0 = 1_770_000_000_000
MOST_BYTES = 1 << 20  # a smaller bound than that of the readers, so that the slow codecs are quick
MANY = MOST_HEADERS + 1
EMPTY_HEADERS = varint(MANY) + b"\0\1" * MANY  # no name, and no value


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_aiokafka()
    monkeypatch.setattr(unpacking, "MOST_BYTES", MOST_BYTES)


def batch(base: int, records: list[tuple[bytes | None, bytes]], codec: str = "none") -> bytes:
    """A batch of values with their headers as they stand, as it lies in the log."""
    built = RecordBatch(codec)
    assert built.fill([(b"k", value, T0, headers) for value, headers in records], 0, 1 << 32) == len(records)
    return base.to_bytes(8, "big") + built.build(-1, 0, 0)[8:]


def read(data: bytes, deserializer: Any = undressed) -> list[Any]:
    where = TopicPartition("commands.person", 0)
    return list(_PartitionRecords(where, _Fetched(data), None, 0, None, deserializer, CHECKED, READ_COMMITTED))


@pytest.mark.parametrize("codec", COMPRESSED)
@given(st.binary(max_size=500) | st.integers(0, 300_000).map(bytes))
def test_what_was_packed_is_unpacked(codec: str, data: bytes) -> None:
    number, pack = CODECS[codec]
    assert pack is not None
    assert unpack(number, pack(data)) == data


def test_what_javas_client_packs_is_unpacked() -> None:
    data = bytes(range(256)) * 1_000
    assert unpack(1, gzip.compress(data[:9]) + gzip.compress(data[9:])) == data  # members of one stream
    assert unpack(2, snappy_encode(data, xerial_compatible=True)) == data
    assert unpack(2, bytes(cramjam.snappy.compress_raw(data))) == data


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_bomb_is_refused_and_a_batch_at_the_bound_is_not(codec: str) -> None:
    number, pack = CODECS[codec]
    assert pack is not None
    assert len(unpack(number, pack(bytes(MOST_BYTES)))) == MOST_BYTES
    with pytest.raises(OversizedError):
        unpack(number, pack(bytes(MOST_BYTES + 1)))


@pytest.mark.parametrize("codec", COMPRESSED)
def test_damage_is_no_bomb(codec: str) -> None:
    number, pack = CODECS[codec]
    assert pack is not None
    packed = bytearray(pack(bytes(range(256)) * 100))
    del packed[len(packed) // 2 :]
    with pytest.raises(Exception) as failure:  # noqa: PT011 - each codec has errors of its own
        unpack(number, bytes(packed))
    assert failure.type is not OversizedError


@pytest.mark.parametrize("codec", COMPRESSED)
def test_the_records_of_a_bomb_are_foreign_and_its_neighbours_are_read(codec: str) -> None:
    """Goes red when a reader unpacks whatever comes."""
    bomb = batch(1, [(bytes(MOST_BYTES // 2), b"\0")] * 3, codec)
    data = batch(0, [(b"before", b"\0")], codec) + bomb + batch(4, [(b"after", b"\0")], codec)
    expected = [(0, b"before"), (1, None), (2, None), (3, None), (4, b"after")]
    assert [(record.offset, record.value) for record in read(data)] == expected
    assert [(record.offset, record.value) for record in read(data, None)] == expected
    assert [(each[0], each[2]) for each in (r for b in batches_of(data) for r in b.records())] == expected


def test_of_a_bomb_of_countless_records_a_thousand_are_told() -> None:
    bomb = batch(0, [(None, b"\0")] * 10, "zstd")
    (found,) = batches_of(bomb)
    countless = found._replace(size=1 << 31, body=CODECS["zstd"][1](bytes(MOST_BYTES + 1)))  # type: ignore[misc]
    assert len(list(countless.records())) == MOST_UNREAD


@pytest.mark.parametrize("codec", CODECS)
def test_more_headers_than_may_be_are_not_taken_apart(codec: str) -> None:
    """Goes red when each header of a record becomes an object: these take 10 MB, and those of a fetch gigabytes."""
    data = batch(0, [(b"a", b"\0")], codec) + batch(1, [(b"b", EMPTY_HEADERS), (b"c", b"\0")], codec)
    tracemalloc.start()
    try:
        one, many, last = read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [each.value for each in (one, many, last)] == [b"a", b"b", b"c"]
    assert (len(many.headers), list(one.headers), list(last.headers)) == (MANY, [], [])
    assert peak < 1_500_000
    dressed = read(data, None)
    assert [(each.value, each.headers) for each in dressed] == [(b"a", ()), (b"b", ()), (b"c", ())]


def test_a_command_with_more_headers_than_may_be_is_a_dead_letter_that_keeps_them() -> None:
    headers = EncodedHeaders(MANY, EMPTY_HEADERS[len(varint(MANY)) :])
    found = read_command(b"p-1", b"{}", headers, 1_000_000)
    assert found == DeadLetter(TOO_LARGE, f"there are {MANY} headers, 65536 are allowed")
    assert encode_with_more(headers, [("reason", b"x")]) == encode_headers([*headers, ("reason", b"x")])
    assert (headers[0], headers[-1:]) == (("", None), [("", None)])


def test_empty_headers_count() -> None:
    few, many = [("", None)] * 65_533, [("", None)] * 65_534
    assert read_command(b"p-1", b"{", few, 1_000_000) == read_command(b"p-1", b"{", [], 1_000_000)
    found = read_command(b"p-1", b"{", many, 1_000_000)
    assert isinstance(found, DeadLetter)
    assert found.reason == TOO_LARGE


def test_headers_beyond_the_bound_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="more than 65538 headers"):
        headers_of(EMPTY_HEADERS)
    assert differences(EMPTY_HEADERS, {}, b"") == ["they cannot be read"]


def test_what_is_read_in_ranges_comes_in_steps_of_bounded_bytes() -> None:
    one = 1 << 20
    steps = list(_steps([[(number, b"k", bytes(one), b"\0") for number in range(40)]]))
    assert [record[0] for step in steps for record in step] == list(range(40))
    assert max(sum(len(record[2] or b"") for record in step) for step in steps) <= STEP_BYTES + one
    assert list(_steps([])) == [[]]


class Assignment:
    """A partition that is read from its beginning."""

    active = True
    paused = False
    position = 0

    def state_value(self, tp: TopicPartition) -> "Assignment":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def test_a_consumer_hands_out_no_more_than_a_bound_at_once() -> None:
    """Goes red with aiokafka's own: it takes all that a fetch unpacks to."""
    where, one = TopicPartition("events.person", 0), 1_000_000
    data = b"".join(batch(base, [(bytes(one), b"\0")], "zstd") for base in range(40))
    records = _PartitionRecords(where, _Fetched(data), None, 0, None, undressed, CHECKED, READ_COMMITTED)
    assignment = Assignment()
    result = _FetchResult(where, assignment=assignment, partition_records=records, backoff=0)
    sizes = []
    while result.has_more():
        assert assignment.position == sum(sizes)
        sizes.append(len(result.getall(max_records=4_000)))
    assert sum(sizes) == assignment.position == 40
    assert max(sizes) <= (header_names.STEP_BYTES // one) + 1


async def test_every_consumer_is_bounded() -> None:
    await reading_consumer(bootstrap_servers="127.0.0.1:1").stop()
    assert fetcher.FetchResult is _FetchResult
    for records in (compiled_records, default_records):
        for number, pack in (CODECS[codec] for codec in COMPRESSED):
            decode = getattr(records, f"{['', 'gzip', 'snappy', 'lz4', 'zstd'][number]}_decode")
            with pytest.raises(OversizedError):
                decode(pack(bytes(MOST_BYTES + 1)))
