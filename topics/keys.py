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

# Some 200 bytes an entry with its key: the hot aggregates of a worker, and never more than 15 MB.
CACHED_KEYS: Final = 1 << 16


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


@lru_cache(maxsize=CACHED_KEYS)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key among `partitions` (1 or more), as the Java client's default partitioner does."""
    return (murmur2(key) & POSITIVE) % partitions


def keys_of(partition: int, partitions: int) -> Callable[[bytes], bool]:
    """Return the test whether a key belongs to this partition of `partitions`."""

    def belongs(key: bytes) -> bool:
        return partition_of(key, partitions) == partition

    return belongs
