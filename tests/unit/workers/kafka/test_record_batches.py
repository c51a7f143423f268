"""Our record batches are, byte for byte, those of aiokafka's own builder."""

from itertools import combinations

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.cid import cid_of, cid_text
from annals.topics.carried import carried_headers
from annals.topics.headers import event_headers, outcome_headers
from annals.topics.names import TopicNames
from annals.topics.wire import encode_headers, encoded_event_headers, encoded_outcome_headers, varint
from annals.workers.kafka.protocol.record_batches import ChecksumError, FormatError, batches_of, headers_of
from annals.workers.kafka.read.carried import carried_of
from annals.workers.kafka.write.batches import BATCH_HEADER_BYTES, CODECS, PartitionBatches, RecordBatch
from annals.workers.kafka.write.journal import KafkaWrites, ShardTopics

TIME = "2026-11-21T03:50:27.123456Z"
HEADERS = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=300)), max_size=5)
RECORDS = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=300),
        st.none() | st.binary(max_size=3_000),
        st.integers(0, 2**41),  # aiokafka's builder takes a first timestamp of -1 for one that is not set yet
        HEADERS,
    ),
    min_size=1,
    max_size=20,
)
IDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=256)


@given(RECORDS, st.sampled_from(sorted(CODECS)), st.integers(0, 2**40), st.integers(0, 100), st.integers(0, 2**31 - 1))
def test_a_batch_is_what_aiokafkas_builder_makes(records, codec, producer, epoch, sequence):
    ours = RecordBatch(codec)
    theirs = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec][0],
        is_transactional=1,
        producer_id=producer,
        producer_epoch=epoch,
        base_sequence=sequence,
        batch_size=1 << 30,
    )
    for offset, (key, value, timestamp, headers) in enumerate(records):
        assert ours.fill([(key, value, timestamp, encode_headers(headers))], 0, 1 << 30) == 1
        theirs.append(offset, timestamp, key, value, headers)
    assert ours.size == theirs.size()
    built, expected = ours.build(producer, epoch, sequence), bytes(theirs.build())
    if codec in {"none", "snappy"}:
        assert built == expected
        return
    # gzip holds the time at which it was compressed, lz4 and zstd take other levels here than there
    ((batch,), (wanted,)) = batches_of(built), batches_of(expected)
    assert batch[:-1] == wanted[:-1]
    assert list(batch.records()) == list(wanted.records())
    assert DefaultRecordBatch(built).validate_crc()


@given(st.integers(-(2**31), 2**31))
def test_a_varint_is_zigzag_in_base_128(number):
    encoded = varint(number)
    zigzag = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))
    assert (zigzag >> 1 if zigzag % 2 == 0 else -(zigzag >> 1) - 1) == number


@given(
    IDS,
    st.integers(1, 10**9),
    st.integers(1, 99),
    IDS,
    IDS,
    st.none() | IDS,
    st.none() | IDS,
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=9),
)
def test_encoded_event_headers_are_the_event_headers(
    key, version, schema, command, correlation, causation, actor, trace, via, further
):
    cid = cid_text(cid_of(key.encode()))
    time = "2026-11-21T03:50:27.123456Z"
    plain = event_headers(
        kind="person",
        key=key.encode(),
        version=version,
        type_name="PersonRenamed",
        schema_version=schema,
        recorded_at=time,
        cid=cid,
        command_id=command,
        correlation_id=correlation,
        causation_id=causation,
        actor=actor,
        traceparent=trace,
        tracestate=trace,
        via=via,
    )
    content_type = ("content-type", b"application/json")
    said = {
        "kind": "person",
        "key": key.encode(),
        "version": version,
        "type_name": "PersonRenamed",
        "schema_version": schema,
        "recorded_at": time.encode(),
        "cid": cid.encode(),
        "command_id": command.encode(),
        "correlation_id": correlation.encode(),
        "causation_id": causation,
        "actor": actor,
        "traceparent": trace,
        "tracestate": trace,
        "via": via,
    }
    assert encoded_event_headers(**said) == encode_headers(plain)
    with_more = encoded_event_headers(**said, content_type=content_type, further=further)
    assert with_more == encode_headers([content_type, *plain[1:], *further])


@given(IDS, st.integers(0, 2**62), st.integers(0, 2**62))
def test_encoded_outcome_headers_are_the_outcome_headers(command, offset, journal):
    plain = outcome_headers(command, offset, journal)
    assert encoded_outcome_headers(command.encode(), offset, journal) == encode_headers(plain)


def test_what_does_not_fit_goes_to_the_next_batch_and_what_never_fits_is_measured():
    batches = PartitionBatches(1_000)
    assert [batches.add(b"k", b"x" * 400, 0, encode_headers([])) for _ in range(3)] == [0, 0, 0]
    assert [batch.count for batch in batches.batches] == [2, 1]
    assert all(batch.size <= 1_000 for batch in batches.batches)
    needed = batches.add(b"k", b"x" * 1_000, 0, encode_headers([]))
    assert needed > 1_000
    assert batches.count == 3


def test_many_records_go_to_as_many_batches_as_they_need_up_to_one_that_never_fits():
    batches = PartitionBatches(1_000)
    records = [(b"k", b"x" * 300, n, encode_headers([])) for n in range(7)]
    assert batches.add_each(records) == 0
    assert [batch.count for batch in batches.batches] == [3, 3, 1]
    assert batches.add_each([records[0], (b"k", b"x" * 1_000, 0, encode_headers([])), records[1]]) > 1_000
    assert batches.count == 8


@pytest.mark.parametrize("before", [0, 1, 2])
def test_the_events_of_a_command_stay_in_one_batch(before):
    batches = PartitionBatches(1_000)
    for _ in range(before):
        batches.add(b"k", b"x" * 300, 0, encode_headers([]))
    records = [(b"k", b"y" * 200, 0, encode_headers([]))] * 3
    assert batches.add_all(records) == 0
    assert [batch.count for batch in batches.batches][-1] >= 3
    assert batches.oversize([*records, *records]) > 1_000
    assert batches.add_all([*records, *records]) > BATCH_HEADER_BYTES
    assert batches.count == before + 3


def test_a_snapshot_that_is_too_large_leaves_no_empty_batch_behind():
    limits = dict.fromkeys(("events", "outcomes", "snapshots"), 1_000)
    topics = ShardTopics(kind="person", partition=0, names=TopicNames(""), limits=limits, dead_partitions=1)
    writes = KafkaWrites(topics, "none")
    assert writes.add_snapshot(b"p-1", bytes(500), -1) == 0
    assert writes.add_snapshot(b"p-2", bytes(1_000), -1) > 1_000
    ((_, (batch,)),) = writes.by_partition().items()
    assert batch.count == 1


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\x80", b"\x04\x02a\x01", b"\x02\x02a\x80"])
def test_headers_that_are_cut_off_are_no_headers(raw: bytes) -> None:
    with pytest.raises(ValueError, match="headers"):
        headers_of(raw)
    assert carried_of(raw + b"traceparent") == ()


VALUES = {
    "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": b"a=1",
    "ce_annalsvia": b"other",
    "ce_type": b"traceparent",
}


@pytest.mark.parametrize("names", [each for count in range(5) for each in combinations(VALUES, count)])
def test_of_a_header_section_what_is_carried_is_taken(names: tuple[str, ...]) -> None:
    headers = [(name, VALUES[name]) for name in names]
    assert list(carried_of(encode_headers(headers))) == carried_headers(headers)


def test_a_batch_that_was_damaged_is_named_where_checksums_are_checked():
    ours = RecordBatch("none")
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    data = ours.build(1, 0, 0)
    assert batches_of(data, is_checked=True) == batches_of(data)
    damaged = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    assert len(batches_of(damaged)) == 1
    with pytest.raises(ChecksumError, match="the record batch at offset 0 is damaged"):
        batches_of(damaged, is_checked=True)
    assert batches_of(data + damaged, is_checked=True) == batches_of(data)


@pytest.mark.parametrize("length", [-(2**31), -12, 0, 48])
@pytest.mark.parametrize("is_checked", [True, False])
def test_a_batch_that_is_shorter_than_its_header_is_named(length: int, *, is_checked: bool):
    """Goes red when it is read for ever: its length is in no checksum."""
    ours = RecordBatch("none")
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    data = ours.build(1, 0, 0)
    damaged = data[:8] + length.to_bytes(4, "big", signed=True) + data[12:]
    assert batches_of(data + damaged, is_checked=is_checked) == batches_of(data)
    with pytest.raises(ChecksumError, match=f"the record batch at offset 0 is damaged: {length} bytes are no length"):
        batches_of(damaged, is_checked=is_checked)


def test_a_batch_of_another_format_is_named_once_it_is_the_next_one():
    ours = RecordBatch("none")
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    data = ours.build(1, 0, 0)
    older = data[:16] + b"\1" + data[17:]
    assert batches_of(data + older) == batches_of(data)
    with pytest.raises(FormatError, match="the record batch at offset 0 has format 1: only 2 is read"):
        batches_of(older)
