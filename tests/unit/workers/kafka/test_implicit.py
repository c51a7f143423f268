"""Requests of transactions of version 2 are on the wire what aiokafka's types make of Kafka's published schemas."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import RequestHeader_v2, ResponseHeader_v0, ResponseHeader_v1
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from annals.topics.wire import unsigned_at, unsigned_varint
from annals.workers.kafka.protocol.transactions_v2 import (
    Features,
    FeaturesRequest,
    ImplicitProduceRequest,
    ImplicitTxnOffsetCommitRequest,
    RenewingEndTxnRequest,
)
from annals.workers.kafka.protocol.wire_requests import EncodedRequest, behind_tags, compact

TEXT = CompactString("utf-8")
TAGS = ("tags", TaggedFields)
NO_TAGS: dict[int, bytes] = {}
WITH_TAGS = {0: b"", 3: b"tagged"}  # of members that a later release has

PRODUCE = Schema(
    ("transactional_id", TEXT),
    ("acks", Int16),
    ("timeout_ms", Int32),
    (
        "topics",
        CompactArray(
            ("name", TEXT), ("partitions", CompactArray(("index", Int32), ("records", CompactBytes), TAGS)), TAGS
        ),
    ),
    TAGS,
)
PRODUCED = Schema(
    (
        "topics",
        CompactArray(
            ("name", TEXT),
            (
                "partitions",
                CompactArray(
                    ("index", Int32),
                    ("error_code", Int16),
                    ("base_offset", Int64),
                    ("log_append_time_ms", Int64),
                    ("log_start_offset", Int64),
                    ("record_errors", CompactArray(("batch_index", Int32), ("message", TEXT), TAGS)),
                    ("error_message", TEXT),
                    TAGS,
                ),
            ),
            TAGS,
        ),
    ),
    ("throttle_time_ms", Int32),
    TAGS,
)
COMMIT_OFFSETS = Schema(
    ("transactional_id", TEXT),
    ("group_id", TEXT),
    ("producer_id", Int64),
    ("producer_epoch", Int16),
    ("generation_id", Int32),
    ("member_id", TEXT),
    ("group_instance_id", TEXT),
    (
        "topics",
        CompactArray(
            ("name", TEXT),
            (
                "partitions",
                CompactArray(("index", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", TEXT), TAGS),
            ),
            TAGS,
        ),
    ),
    TAGS,
)
OFFSETS_COMMITTED = Schema(
    ("throttle_time_ms", Int32),
    (
        "topics",
        CompactArray(("name", TEXT), ("partitions", CompactArray(("index", Int32), ("error_code", Int16), TAGS)), TAGS),
    ),
    TAGS,
)
END = Schema(
    ("transactional_id", TEXT), ("producer_id", Int64), ("producer_epoch", Int16), ("committed", Boolean), TAGS
)
ENDED = Schema(
    ("throttle_time_ms", Int32), ("error_code", Int16), ("producer_id", Int64), ("producer_epoch", Int16), TAGS
)
ASK_VERSIONS = Schema(("client_software_name", TEXT), ("client_software_version", TEXT), TAGS)
LEVELS = CompactArray(("name", TEXT), ("max_version_level", Int16), ("min_version_level", Int16), TAGS)
VERSIONS = Schema(
    ("error_code", Int16),
    ("api_keys", CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), TAGS)),
    ("throttle_time_ms", Int32),
)

NAMES = st.text("abc.-é", min_size=1, max_size=200)
INT16, INT32, INT64 = (st.integers(-(2**bits), 2**bits - 1) for bits in (15, 31, 63))
BATCHES = st.lists(st.tuples(INT32, st.binary(max_size=300)), max_size=3)
MESSAGES = st.none() | st.text(max_size=5)


def tagged(tags: dict[int, bytes]) -> bytes:
    """Tags as Kafka has them: aiokafka's own encoder leaves out each one's size."""
    return unsigned_varint(len(tags)) + b"".join(
        unsigned_varint(tag) + unsigned_varint(len(of)) + of for tag, of in tags.items()
    )


@pytest.fixture(autouse=True)
def _tags_with_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaggedFields, "encode", staticmethod(tagged))


def answer(request: EncodedRequest, said: bytes) -> Any:
    return request.RESPONSE_TYPE.decode(BytesIO(said))


@given(NAMES, INT16, INT32, st.dictionaries(NAMES, BATCHES, max_size=3))
def test_produce(name: str, acks: int, timeout_ms: int, topics: dict[str, list[tuple[int, bytes]]]) -> None:
    entries = [
        (topic, [(index, batch, NO_TAGS) for index, batch in batches], NO_TAGS) for topic, batches in topics.items()
    ]
    wanted = PRODUCE.encode((name, acks, timeout_ms, entries, NO_TAGS))
    assert ImplicitProduceRequest(name, acks, timeout_ms, topics).encode() == wanted


TAGGED = st.sampled_from([NO_TAGS, WITH_TAGS])
ERRORS = st.none() | st.lists(st.tuples(INT32, MESSAGES, TAGGED), max_size=2)
PUT = st.tuples(INT32, INT16, INT64, INT64, INT64, ERRORS, MESSAGES, TAGGED)


@given(st.lists(st.tuples(NAMES, st.lists(PUT, max_size=3), TAGGED), max_size=3), INT32, TAGGED)
def test_what_was_produced(topics: Any, throttled: int, tags: dict[int, bytes]) -> None:
    found = answer(ImplicitProduceRequest("id", -1, 0, {}), PRODUCED.encode((topics, throttled, tags)))
    assert found.topics == [(name, [each[:3] for each in partitions]) for name, partitions, _ in topics]
    assert found.throttle_time_ms == throttled


@given(NAMES, NAMES, INT64, INT16, NAMES, INT32, INT64, st.text(max_size=5))
def test_commit_of_offsets(
    name: str, group: str, producer: int, epoch: int, topic: str, partition: int, offset: int, said: str
) -> None:
    entries = [(topic, [(partition, offset, -1, said, NO_TAGS)], NO_TAGS)]
    wanted = COMMIT_OFFSETS.encode((name, group, producer, epoch, -1, "", None, entries, NO_TAGS))
    request = ImplicitTxnOffsetCommitRequest(
        name, group, producer, epoch, TopicPartition(topic, partition), offset, said
    )
    assert request.encode() == wanted


COMMITTED = st.lists(st.tuples(INT32, INT16, TAGGED), max_size=3)


@given(INT32, st.lists(st.tuples(NAMES, COMMITTED, TAGGED), max_size=3), TAGGED)
def test_what_was_committed(throttled: int, topics: Any, tags: dict[int, bytes]) -> None:
    request = ImplicitTxnOffsetCommitRequest("id", "g", 1, 1, TopicPartition("t", 0), 1, "")
    found = answer(request, OFFSETS_COMMITTED.encode((throttled, topics, tags)))
    assert found.errors == [(name, [each[:2] for each in partitions]) for name, partitions, _ in topics]
    assert found.throttle_time_ms == throttled


@given(NAMES, INT64, INT16)
def test_the_end(name: str, producer: int, epoch: int) -> None:
    assert RenewingEndTxnRequest(name, producer, epoch).encode() == END.encode((name, producer, epoch, True, NO_TAGS))


@given(INT32, INT16, INT64, INT16, TAGGED)
def test_what_was_ended(throttled: int, code: int, producer: int, epoch: int, tags: dict[int, bytes]) -> None:
    said = ENDED.encode((throttled, code, producer, epoch, tags))
    assert answer(RenewingEndTxnRequest("id", 1, 1), said) == (throttled, code, producer, epoch)


@given(st.none() | st.dictionaries(NAMES, INT16, max_size=3))
def test_the_clusters_features(levels: dict[str, int] | None) -> None:
    name, number, tags = ASK_VERSIONS.decode(BytesIO(FeaturesRequest().encode()))
    assert (name, tags) == ("annals", {})
    assert number
    assert isinstance(number, str)
    finalized = {} if levels is None else {2: LEVELS.encode([(of, level, 0, NO_TAGS) for of, level in levels.items()])}
    said = VERSIONS.encode((0, [(18, 0, 4, NO_TAGS)], 0)) + tagged({1: bytes(8), **finalized})
    assert answer(FeaturesRequest(), said) == Features(levels or {})


@given(INT32, NAMES, TAGGED)
def test_headers(correlation_id: int, client_id: str, tags: dict[int, bytes]) -> None:
    request = RenewingEndTxnRequest("id", 1, 1)
    wanted: Any = RequestHeader_v2(request, correlation_id, client_id)  # type: ignore[arg-type]
    assert request.build_request_header(correlation_id, client_id).encode() == wanted.encode()
    said = BytesIO(ResponseHeader_v1(correlation_id, tags).encode() + b"rest")
    assert (request.parse_response_header(said).correlation_id, said.read()) == (correlation_id, b"rest")
    old = BytesIO(ResponseHeader_v0(correlation_id).encode() + b"rest")
    assert (FeaturesRequest().parse_response_header(old).correlation_id, old.read()) == (correlation_id, b"rest")


@given(st.integers(0, 2**32 - 1), st.binary(max_size=3))
def test_unsigned_numbers(number: int, rest: bytes) -> None:
    encoded = unsigned_varint(number)
    assert encoded == UnsignedVarInt32.encode(number)
    assert unsigned_at(memoryview(encoded + rest), 0) == (number, len(encoded))


@given(st.none() | st.binary(max_size=300))
def test_compact_bytes(value: bytes | None) -> None:
    assert compact(value) == CompactBytes.encode(value)


@given(st.dictionaries(st.integers(0, 300), st.binary(max_size=200), max_size=3), st.binary(max_size=3))
def test_tags_are_passed_over(tags: dict[int, bytes], rest: bytes) -> None:
    encoded = tagged(tags)
    assert behind_tags(memoryview(encoded + rest), 0) == len(encoded)


@pytest.mark.parametrize("versions", [{}, {26: (0, 4)}, {26: (6, 7)}, {0: (0, 12)}])
def test_a_broker_that_does_not_know_the_version_is_not_asked(versions: dict[int, tuple[int, int]]) -> None:
    with pytest.raises(IncompatibleBrokerVersion, match=r"version 5 of RenewingEndTxnRequest\(15 bytes\)"):
        RenewingEndTxnRequest("id", 1, 1).prepare(versions)


def test_a_broker_that_knows_it_is() -> None:
    request = RenewingEndTxnRequest("id", 1, 1)
    assert request.prepare({26: (5, 5)}) is request
