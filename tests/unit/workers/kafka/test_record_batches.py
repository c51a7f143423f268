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
from annals.workers.kafka.protocol import record_batches
from annals.workers.kafka.protocol.record_batches import NO_HEADERS, ChecksumError, FormatError, batches_of, headers_of
from annals.workers.kafka.read.carried import carried_of
from annals.workers.kafka.write.batches import BATCH_HEADER_BYTES, CODECS, PartitionBatches, RecordBatch
from annals.workers.kafka.write.journal import KafkaWrites, ShardTopics
from lacking import LACKING

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


@pytest.mark.parametrize("lacks", LACKING.values(), ids=LACKING)
def test_where_the_machine_lacks_something_a_record_does_not_pass_for_one_that_cannot_be_read(monkeypatch, lacks):
    """Goes red when an event is passed by for good, as nobody's, because there was no room to unpack it."""

    def unpack(*_):
        raise lacks()

    ours = RecordBatch("zstd")
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    (batch,) = batches_of(ours.build(1, 0, 0), is_checked=True)
    monkeypatch.setattr(record_batches, "unpack", unpack)
    with pytest.raises(type(lacks())):
        list(batch.records())


def one_record(base: int) -> bytes:
    """A batch of one record, at an offset."""
    ours = RecordBatch("none")
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    return base.to_bytes(8, "big", signed=True) + ours.build(1, 0, 0)[8:]


def of_length(batch: bytes, length: int) -> bytes:
    return batch[:8] + length.to_bytes(4, "big", signed=True) + batch[12:]


@pytest.mark.parametrize(
    ("length", "said"),
    [
        *((length, f"{length} bytes are no length") for length in (-(2**31), -12, 0, 48)),
        *((length, f"of its {length} bytes there are {len(one_record(8)) - 12}") for length in (1 << 10, 2**31 - 1)),
    ],
)
@pytest.mark.parametrize("is_checked", [True, False])
def test_a_batch_that_is_not_as_long_as_it_says_is_named(length: int, said: str, *, is_checked: bool):
    """Goes red when it is read for ever: its length is in no checksum. Brokers send a fetch's first batch whole."""
    data, damaged = one_record(7), of_length(one_record(8), length)
    assert batches_of(data + damaged, is_checked=is_checked) == batches_of(data)
    with pytest.raises(ChecksumError, match=f"the record batch at offset 8 is damaged: {said}"):
        batches_of(damaged, 8, is_checked=is_checked)


def test_of_a_first_batch_that_is_cut_off_in_its_header_the_place_is_named():
    with pytest.raises(ChecksumError, match="the record batch at offset 8 is damaged: there are 60 bytes of it"):
        batches_of(one_record(8)[:60], 8)


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("base", [0, 6, -(2**62)])
def test_a_batch_behind_which_no_reading_goes_on_is_named(base: int, *, is_checked: bool):
    """Goes red when it is read for ever: its offset is in no checksum either."""
    damaged = one_record(base)
    with pytest.raises(ChecksumError, match="is damaged: it ends below offset"):
        batches_of(damaged, 7, is_checked=is_checked)
    data = one_record(7)
    assert batches_of(data + damaged, 7, is_checked=is_checked) == batches_of(data)


@pytest.mark.parametrize("last", [-(2**31), -1, 1, 2**31 - 1])
def test_a_last_offset_that_a_disk_changed_has_nothing_passed_over_though_checksums_are_not_checked(last: int):
    """Goes red when it is read for ever, or what is behind it is not read."""
    batch = one_record(7)
    damaged = batch[:23] + last.to_bytes(4, "big", signed=True) + batch[27:]
    with pytest.raises(ChecksumError, match="the record batch at offset 7 is damaged"):
        batches_of(damaged + one_record(8), 7)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_batch_that_passes_for_a_part_of_the_one_before_it_is_told(codec: str):
    """Goes red when its records are as good as gone, and nobody says so."""
    ours = RecordBatch(codec)
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    batch = ours.build(1, 0, 0)
    (found,) = batches_of(of_length(batch, 2 * len(batch) - 12) + batch)
    assert list(found.records())[-1][1:] == (None, None, NO_HEADERS)


def test_a_batch_of_another_format_is_named_once_it_is_the_next_one():
    ours = RecordBatch("none")
    ours.fill([(b"key", b"value", 1, encode_headers([]))], 0, 1 << 20)
    data = ours.build(1, 0, 0)
    older = data[:16] + b"\1" + data[17:]
    assert batches_of(data + older) == batches_of(data)
    with pytest.raises(FormatError, match="the record batch at offset 0 has format 1: only 2 is read"):
        batches_of(older)
