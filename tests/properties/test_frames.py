"""Record batches taken apart by hand are what aiokafka takes them apart to, and what they were built from."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from annals.topics.wire import encode_headers, varint
from annals.workers.kafka.protocol.record_batches import FormatError, batches_of, headers_of

HEADERS = st.lists(st.tuples(st.text(max_size=200), st.none() | st.binary(max_size=200)), max_size=20)
BYTES = st.none() | st.binary(max_size=300) | st.sampled_from([b"x" * 8_000, b"y" * 40_000])
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}  # KIP-98, KIP-110
RECORDS = st.lists(
    st.tuples(st.sampled_from([0, 1, 63, 64, 10**6, 2**40]), BYTES, BYTES, HEADERS), min_size=1, max_size=8
)


def built(records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]], codec: str) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=1,
        producer_id=7,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 24,
    )
    for number, (later_ms, key, value, headers) in enumerate(records):
        assert builder.append(number, 1_770_000_000_000 + later_ms, key, value, headers) is not None
    return bytes(builder.build())


@pytest.mark.parametrize("codec", CODECS)
@given(records=RECORDS)
def test_what_was_built_is_taken_apart(
    codec: str, records: list[tuple[int, None, None, list[tuple[str, bytes]]]]
) -> None:
    (batch,) = batches_of(built(records, codec))
    assert (batch.base_offset, batch.next_offset, batch.producer_id) == (0, len(records), 7)
    assert (batch.is_transactional, batch.is_control) == (True, False)
    assert [(offset, key, value, headers_of(raw)) for offset, key, value, raw in batch.records()] == [
        (number, *record[1:]) for number, record in enumerate(records)
    ]


def test_offsets_beyond_two_bytes_of_delta_are_right() -> None:
    (batch,) = batches_of(built([(0, b"k", b"v", [])] * 20_000, "none"))
    assert [record[0] for record in batch.records()] == list(range(20_000))


def test_several_batches_are_taken_apart_and_what_is_cut_off_is_left() -> None:
    one = built([(0, b"k", b"v", [])], "none")
    three = b"".join(base.to_bytes(8, "big") + one[8:] for base in range(3))
    cut = (0, len(one), len(one) + 60, 2 * len(one) - 1, 3 * len(one))
    assert [len(batches_of(three[:length])) for length in cut] == [0, 1, 1, 1, 3]


def test_another_format_is_refused() -> None:
    batch = bytearray(built([(0, b"k", b"v", [])], "none"))
    batch[16] = 1
    with pytest.raises(FormatError, match="format 1"):
        batches_of(bytes(batch))


@pytest.mark.parametrize("codec", CODECS)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_rotten_frame_ends_its_batch_with_a_record_without_key_and_value(codec: str, at: int, bit: int) -> None:
    (batch,) = batches_of(built([(n, b"key", b"value" * 30, [("h", b"x")]) for n in range(5)], codec))
    body = bytearray(batch.body)
    body[at % len(body)] ^= 1 << bit
    found = list(batch._replace(body=bytes(body)).records())
    assert 1 <= len(found) <= 5 + 1  # all are whole, and something is behind them
    assert len(found) == 5 or found[-1][1:] == (None, None, b"\0")


@given(names=st.lists(st.binary(max_size=40)))
def test_a_name_of_any_bytes_comes_back_as_it_was(names: list[bytes]) -> None:
    headers = [(name.decode(errors="surrogateescape"), name) for name in names]
    assert headers_of(encode_headers(headers)) == headers
    assert all(name.encode(errors="surrogateescape") == value for name, value in headers)


@given(number=st.integers(-(2**63), 2**63 - 1), headers=HEADERS)
def test_headers_that_are_encoded_are_decoded(number: int, headers: list[tuple[str, bytes | None]]) -> None:
    assert headers_of(encode_headers(headers)) == headers
    assert 1 <= len(varint(number)) <= 10
