"""Which partition a key belongs to: the one place that decides co-partitioning.

The Java client's default partitioner (`org.apache.kafka.common.utils.Utils.murmur2`), so that a producer in any
language can find an aggregate's partition, and a reader can tell a record that is not where it belongs.
"""

from collections.abc import Callable
from functools import lru_cache
from struct import unpack_from
from typing import Final

SEED: Final = 0x9747B28C
MULTIPLIER: Final = 0x5BD1E995
SHIFT: Final = 24
UINT32: Final = 0xFFFFFFFF
POSITIVE: Final = 0x7FFFFFFF

# Most ids are short, and those of a worker's hot aggregates are remembered: 65,536 of them are at most 20 MB. Of longer
# ones, up to the longest id in UTF-8, a few, at most 10 MB. Nothing longer is a command's key.
SHORT_KEY: Final = 128
CACHED_SHORT_KEYS: Final = 1 << 16
LONG_KEY: Final = 1_024
CACHED_LONG_KEYS: Final = 1 << 13


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of the bytes, unsigned, with Kafka's seed."""
    length = len(data)
    words = length >> 2
    h = SEED ^ length
    for word in unpack_from(f"<{words}I", data):
        k = (word * MULTIPLIER) & UINT32
        # Only the low 32 bits of the products matter, and masking once is what makes this loop short.
        h = ((h * MULTIPLIER) ^ ((k ^ (k >> SHIFT)) * MULTIPLIER)) & UINT32
    if length & 3:
        h = ((h ^ int.from_bytes(data[words << 2 :], "little")) * MULTIPLIER) & UINT32
    h = ((h ^ (h >> 13)) * MULTIPLIER) & UINT32
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key among `partitions` (1 or more), as the Java client's default partitioner does."""
    length = len(key)
    if length <= SHORT_KEY:
        return _of_short_key(key, partitions)
    return _of_long_key(key, partitions) if length <= LONG_KEY else _partition_of(key, partitions)


def _partition_of(key: bytes, partitions: int) -> int:
    return (murmur2(key) & POSITIVE) % partitions


def keys_of(partition: int, partitions: int) -> Callable[[bytes], bool]:
    """Return the test whether a key belongs to this partition of `partitions`."""

    def belongs(key: bytes) -> bool:
        return partition_of(key, partitions) == partition

    return belongs


_of_short_key: Final = lru_cache(CACHED_SHORT_KEYS)(_partition_of)
_of_long_key: Final = lru_cache(CACHED_LONG_KEYS)(_partition_of)
