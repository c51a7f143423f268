"""Which partition a key belongs to, by the contract's vectors and by another implementation."""

import tracemalloc

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from annals.topics.keys import murmur2, partition_of

# Vectors of the Java client's own test, org.apache.kafka.common.utils.UtilsTest.testMurmur2.
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), JAVA_VECTORS.items())
def test_the_hash_is_that_of_the_java_client(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@pytest.mark.parametrize(("key", "of_3", "of_4", "of_12"), [("p-1", 1, 0, 4), ("p-3", 1, 3, 7), ("Ä", 1, 0, 4)])
def test_a_key_lives_where_the_contract_says(key: str, of_3: int, of_4: int, of_12: int) -> None:
    found = tuple(partition_of(key.encode(), partitions) for partitions in (3, 4, 12))
    assert found == (of_3, of_4, of_12)


@given(st.binary(max_size=300))
def test_the_hash_is_that_of_another_implementation(key: bytes) -> None:
    assert murmur2(key) == aiokafka_murmur2(key)


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=1000))
def test_a_key_has_one_partition_that_exists(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions


def test_a_key_of_any_length_is_placed_and_only_those_that_can_be_ids_are_remembered() -> None:
    """Goes red when keys of a megabyte are kept: as many as of any other length would be 64 GB."""
    tracemalloc.start()
    try:
        for number in range(1_000, 1_100):
            key = b"%d" % number * 500
            assert partition_of(key, 4) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % 4
            del key
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 50_000
