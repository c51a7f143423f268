"""Record batches of one partition (magic 2, KIP-98), filled record by record and sent whole.

A command's events must be in one record batch: the log has all of them or none. A batch is therefore closed only
between two commands, and what does not fit into an empty batch is refused before anything of it is written.

The records are encoded here, not by aiokafka's builder: it encodes every header's name and value anew, which took a
third of the time of a command. The tests hold each batch to be byte for byte what aiokafka's builder makes.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

from annals.agents.ports import LostEndError, UncertainError
from annals.topics.wire import NO_TIMESTAMP, VARINTS, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.structs import TopicPartition

    Record = tuple[bytes | None, bytes | None, int, bytes]  # key, value, timestamp in ms, encoded headers

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
BATCH_HEADER_BYTES: Final = HEADER.size
BEFORE_LENGTH_ENDS: Final = 12  # base offset and the length itself are not counted in the length
CRC_AT: Final = 17
AFTER_CRC: Final = 21
NO_LEADER_EPOCH: Final = -1
MAGIC: Final = 2
TRANSACTIONAL: Final = 0x10
RECORD_OVERHEAD_BYTES: Final = 36  # length, attributes, time, offset, key and value length: varints, at their longest
SAME_TIME: Final = varint(0)

FASTEST: Final = 1  # zstd: half the time of Kafka's own default and as few bytes; lz4: a quarter of it and 2 % more
Codec = tuple[int, "Callable[[bytes], bytes] | None"]
CODECS: Final[dict[str, Codec]] = {
    "none": (0, None),
    "gzip": (1, gzip_encode),
    "snappy": (2, snappy_encode),
    "lz4": (3, partial(lz4_encode, level=FASTEST)),
    "zstd": (4, partial(zstd_encode, level=FASTEST)),
}


class RecordBatch:
    """One record batch that is being filled."""

    __slots__ = ("_codec", "_first_ms", "_last_ms", "_packed", "_records", "count", "size")

    def __init__(self, codec: str = "none") -> None:
        """Begin empty."""
        self._codec = CODECS[codec]
        self._records: list[bytes] = []
        self._packed: bytes | None = None
        self._first_ms = 0
        self._last_ms = NO_TIMESTAMP
        self.count = 0
        self.size = BATCH_HEADER_BYTES

    def fill(self, records: Sequence[Record], start: int, limit_bytes: int) -> int:
        """Append records from `start` on while the batch stays within a limit; return the index of the first left over.

        One call for many records: this runs twice for each command.
        """
        count, size, first_ms, last_ms = self.count, self.size, self._first_ms, self._last_ms
        ready = len(VARINTS)
        append, join = self._records.append, b"".join
        for index in range(start, len(records)):
            key, value, timestamp_ms, headers = records[index]
            if timestamp_ms == first_ms:
                delta = SAME_TIME
            elif count:
                delta = varint(timestamp_ms - first_ms)
            else:
                first_ms, delta = timestamp_ms, SAME_TIME
            key_bytes = -1 if key is None else len(key)
            value_bytes = -1 if value is None else len(value)
            body = join(
                (
                    b"\x00",
                    delta,
                    VARINTS[count] if count < ready else varint(count),
                    VARINTS[key_bytes] if 0 <= key_bytes < ready else varint(key_bytes),
                    key or b"",
                    VARINTS[value_bytes] if 0 <= value_bytes < ready else varint(value_bytes),
                    value or b"",
                    headers,
                )
            )
            body_bytes = len(body)
            length = VARINTS[body_bytes] if body_bytes < ready else varint(body_bytes)
            larger = size + len(length) + body_bytes
            if larger > limit_bytes:
                break
            append(length)
            append(body)
            size = larger
            count += 1
            last_ms = max(last_ms, timestamp_ms)
        else:
            index = len(records)
        self.count, self.size = count, size
        if count:
            self._first_ms, self._last_ms = first_ms, last_ms
        self._packed = None
        return index

    def build(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """Return the batch as it goes over the wire; one for several partitions is compressed once."""
        number, compress = self._codec
        if self._packed is None:
            records = b"".join(self._records)
            self._packed = records if compress is None else compress(records)
        records = self._packed
        head = HEADER.pack(
            0,  # the base offset is the broker's to say
            BATCH_HEADER_BYTES - BEFORE_LENGTH_ENDS + len(records),
            NO_LEADER_EPOCH,
            MAGIC,
            0,  # the checksum, below
            TRANSACTIONAL | number,
            self.count - 1,
            self._first_ms,
            self._last_ms,
            producer_id,
            epoch,
            sequence,
            self.count,
        )
        return checksummed(head, records)


def checksummed(head: bytes, records: bytes) -> bytes:
    """Return a batch of a header and what follows it, with the right checksum."""
    checksum: int = calc_crc32c(head[AFTER_CRC:] + records)
    return b"".join((head[:CRC_AT], checksum.to_bytes(4, "big"), head[AFTER_CRC:], records))


class PartitionBatches:
    """The record batches that one transaction writes to one partition."""

    __slots__ = ("_codec", "_limit", "_open", "batches", "count")

    def __init__(self, limit_bytes: int, codec: str = "none") -> None:
        """Take the topic's `max.message.bytes`, which holds for a batch (uncompressed, here), and the codec's name."""
        self._limit = limit_bytes
        self._codec = codec
        self._open = RecordBatch(codec)
        self.batches = [self._open]
        self.count = 0

    def add_each(self, records: Sequence[Record]) -> int:
        """Add records, each by itself; return 0, or the bytes that one would need when that is over the limit.

        Those before that one are added.
        """
        limit, total = self._limit, len(records)
        start = self._open.fill(records, 0, limit)
        self.count += start
        while start < total:
            self._next()
            end = self._open.fill(records, start, limit)
            if end == start:
                return BATCH_HEADER_BYTES + measured(*records[start])
            self.count += end - start
            start = end
        return 0

    def add(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: bytes) -> int:
        """Add one record; see `add_each`."""
        return self.add_each(((key, value, timestamp_ms, headers),))

    def add_all(self, records: Sequence[Record]) -> int:
        """Add several records to one batch; return 0, or the bytes that they would need when that is over the limit."""
        needed = sum(measured(*record) for record in records)
        if self._open.size + needed > self._limit:
            if BATCH_HEADER_BYTES + needed > self._limit:
                return BATCH_HEADER_BYTES + needed
            self._next()
        self._open.fill(records, 0, self._limit)
        self.count += len(records)
        return 0

    def oversize(self, records: Sequence[Record]) -> int:
        """Return the bytes that the records would need in one batch when that is over the limit, else 0."""
        needed = BATCH_HEADER_BYTES + sum(measured(*record) for record in records)
        return needed if needed > self._limit else 0

    def _next(self) -> None:
        if self._open.count:
            self._open = RecordBatch(self._codec)
            self.batches.append(self._open)


def measured(key: bytes | None, value: bytes | None, timestamp_ms: int, headers: bytes) -> int:  # noqa: ARG001 - a record
    """Return an upper bound of the bytes that a record takes in a batch."""
    return RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"") + len(headers)


def require_expected(
    batches: Mapping[TopicPartition, Sequence[RecordBatch]],
    produced: Mapping[TopicPartition, Sequence[int]],
    expected: Mapping[TopicPartition, int],
) -> None:
    """Compare where the broker put batches with where partitions that have no other writer ended.

    Raises:
        LostEndError: a partition ended before that.
        UncertainError: it ended behind it, or something is between its batches.
    """
    for where, first in expected.items():
        wanted = first
        for batch, base in zip(batches.get(where, ()), produced.get(where, ()), strict=True):
            if base < first:
                message = f"{where.topic}-{where.partition} ends at offset {base}, and it reached {first} before"
                raise LostEndError(message, base)
            if base != wanted:
                raise UncertainError(
                    f"{where.topic}-{where.partition}: a batch was put at {base} instead of {wanted}: somebody else "
                    f"writes"
                )
            wanted += batch.count


def require_whole(
    batches: Mapping[TopicPartition, Sequence[RecordBatch]], produced: Mapping[TopicPartition, Sequence[int]]
) -> None:
    """See that each batch is behind the one before it, or that one is gone, and would be missing once committed.

    Raises:
        UncertainError: a partition lost its end within the transaction.
    """
    for where, bases in produced.items():
        end = 0
        for batch, base in zip(batches[where], bases, strict=True):
            if base < end:
                raise UncertainError(
                    f"{where.topic}-{where.partition}: a batch was put at {base}, and the one before it reached {end}: "
                    f"the partition lost its end"
                )
            end = base + batch.count
