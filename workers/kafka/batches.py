"""Record batches of one partition, filled record by record and sent whole.

A command's events must be in one record batch: the log has all of them or none. A batch is therefore closed only
between two commands, and what does not fit into an empty batch is refused before anything of it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    Headers = Sequence[tuple[str, bytes | None]]
    Record = tuple[bytes | None, bytes | None, int, Headers]  # key, value, timestamp in ms, headers

MAGIC: Final = 2
BATCH_HEADER_BYTES: Final = 61
RECORD_OVERHEAD_BYTES: Final = 36  # length, attributes, time, offset, key and value length, header count: varints
HEADER_OVERHEAD_BYTES: Final = 10  # two varints
SURELY_FITS_DIVISOR: Final = 4  # below a quarter of a batch no record needs to be measured before it is appended

CODECS: Final = {
    "none": DefaultRecordBatch.CODEC_NONE,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}


class RecordBatch:
    """One record batch (KIP-98, magic 2, transactional) that is being filled."""

    __slots__ = ("_builder", "count")

    def __init__(self, limit_bytes: int, codec: str = "none") -> None:
        """Take the partition's limit in bytes (uncompressed) and the codec's name."""
        self._builder = DefaultRecordBatchBuilder(
            magic=MAGIC,
            compression_type=CODECS[codec],
            is_transactional=1,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=limit_bytes,
        )
        self.count = 0

    def append(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers) -> bool:
        """Append one record; False if it does not fit (the first always does: measure before)."""
        if self._builder.append(self.count, timestamp_ms, key, value, headers) is None:
            return False
        self.count += 1
        return True

    def size(self) -> int:
        """Return the bytes that are filled, uncompressed, header included."""
        return self._builder.size()  # type: ignore[no-any-return]

    def build(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """Return the batch as it goes over the wire; it can be built once."""
        self._builder.set_producer_state(producer_id, epoch, sequence)
        return self._builder.build()  # type: ignore[no-any-return]


class PartitionBatches:
    """The record batches that one transaction writes to one partition."""

    __slots__ = ("_codec", "_limit", "_open", "_small", "batches", "count")

    def __init__(self, limit_bytes: int, codec: str = "none") -> None:
        """Take the topic's `max.message.bytes` and the codec's name."""
        self._limit = limit_bytes
        self._small = limit_bytes // SURELY_FITS_DIVISOR
        self._codec = codec
        self._open = RecordBatch(limit_bytes, codec)
        self.batches = [self._open]
        self.count = 0

    def add(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers) -> int:
        """Add one record; return 0, or the bytes that it would need when that is over the limit."""
        if len(value or b"") > self._small:
            needed = BATCH_HEADER_BYTES + measured(key, value, headers)
            if needed > self._limit:
                return needed
        if not self._open.append(key, value, timestamp_ms, headers):
            self._next().append(key, value, timestamp_ms, headers)
        self.count += 1
        return 0

    def add_all(self, records: Sequence[Record]) -> int:
        """Add several records to one batch; return 0, or the bytes that they would need when that is over the limit."""
        if oversize := self.oversize(records):
            return oversize
        batch = self._open
        if batch.size() + sum(measured(key, value, headers) for key, value, _, headers in records) > self._limit:
            batch = self._next()
        for record in records:
            batch.append(*record)
        self.count += len(records)
        return 0

    def oversize(self, records: Sequence[Record]) -> int:
        """Return the bytes that the records would need in one batch when that is over the limit, else 0."""
        needed = BATCH_HEADER_BYTES + sum(measured(key, value, headers) for key, value, _, headers in records)
        return needed if needed > self._limit else 0

    def _next(self) -> RecordBatch:
        self._open = RecordBatch(self._limit, self._codec)
        self.batches.append(self._open)
        return self._open


def measured(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return an upper bound of the bytes that a record takes in a batch."""
    size = RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += HEADER_OVERHEAD_BYTES + len(name.encode()) + len(content or b"")
    return size
