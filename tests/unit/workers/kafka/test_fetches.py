"""Fetch requests and answers are on the wire what aiokafka makes of them, and are read as it reads them."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v10, FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.kafka.protocol.fetches import QuickFetchRequest

NAMES = st.text("abcdefgh.-é", min_size=1, max_size=20)
NUMBERS = st.integers(-(2**31), 2**31 - 1)
OFFSETS = st.integers(-1, 2**63 - 1)
CODES = st.integers(-1, 120)
BOUNDS = st.tuples(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([0, 1]))
TOPICS = st.lists(st.tuples(NAMES, st.lists(st.tuples(NUMBERS, OFFSETS, NUMBERS), max_size=4)), max_size=4)
ABORTED = st.none() | st.lists(st.tuples(OFFSETS, OFFSETS), max_size=3)
RECORDS = st.none() | st.binary(max_size=30)
PARTITIONS = st.lists(st.tuples(NUMBERS, CODES, OFFSETS, OFFSETS, OFFSETS, ABORTED, NUMBERS, RECORDS), max_size=4)
ANSWERS = st.tuples(NUMBERS, CODES, NUMBERS, st.lists(st.tuples(NAMES, PARTITIONS), max_size=4))
KNOWN = {FetchRequest.API_KEY: (4, 17)}


@given(BOUNDS, TOPICS, st.just("") | NAMES)
def test_a_request_is_byte_for_byte_aiokafkas_own(bounds: Any, topics: Any, rack: str) -> None:
    own = FetchRequest(*bounds, topics, rack_id=rack).prepare(KNOWN)
    quick = QuickFetchRequest(*bounds, topics, rack_id=rack).prepare(KNOWN)
    assert quick.encode() == own.encode()
    assert (quick.API_KEY, quick.API_VERSION) == (own.API_KEY, own.API_VERSION) == (1, 11)
    header = {"correlation_id": 7, "client_id": "c"}
    assert quick.build_request_header(**header).encode() == own.build_request_header(**header).encode()
    assert repr(quick) == f"_Request({len(own.encode())} bytes)"


@given(ANSWERS, st.binary(max_size=5))
def test_an_answer_is_read_as_aiokafka_reads_it(said: Any, header: bytes) -> None:
    encoded = FetchResponse_v11(*said).encode()
    stream = BytesIO(header + encoded)
    stream.seek(len(header))
    quick = FetchRequest_v11.RESPONSE_TYPE.decode(encoded)
    answer = QuickFetchRequest(0, 0, 0, 0, []).prepare(KNOWN).RESPONSE_TYPE
    for read in (answer.decode(encoded), answer.decode(stream)):
        assert read == quick
        assert read.API_VERSION == quick.API_VERSION


@pytest.mark.parametrize("versions", [(4, 10), (0, 10)])
def test_a_broker_that_does_not_know_the_version_is_asked_as_aiokafka_asks_it(versions: tuple[int, int]) -> None:
    request = QuickFetchRequest(500, 1, 1 << 20, 1, [("t", [(0, 5, 100)])]).prepare({1: versions})
    assert type(request) is FetchRequest_v10
    assert request.encode() == FetchRequest(500, 1, 1 << 20, 1, [("t", [(0, 5, 100)])]).prepare({1: versions}).encode()
