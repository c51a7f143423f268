"""A consumer that reads records whose header names are not UTF-8.

The broker stores such a name, and a producer in C, Go or Rust can send one; aiokafka's decoder raises, at each attempt
anew, so that one record would hold its partition up for ever. What aiokafka cannot decode is decoded here: a name's
stray bytes become surrogates (PEP 383), which `annals.topics.wire` writes back as the bytes that they were.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.util import decode_varint

from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.group.active_partitions import AttentiveFetcher
from annals.workers.kafka.protocol.fetches import QuickFetchRequest
from annals.workers.kafka.protocol.record_batches import headers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH: Final = Struct(">8xi")  # of a batch, behind its base offset; it counts from behind itself


class _Fetched(fetcher.MemoryRecords):
    """The batches of a fetch, with the bytes that they came as."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class _Batch(_DefaultRecordBatchPy):
    """A batch whose header names may be any bytes."""

    _pos: int

    def _read_msg(self) -> Any:
        buffer = self._buffer
        length, at = decode_varint(buffer, self._pos)
        end = at + length
        since, at = decode_varint(buffer, at + 1)  # one byte of attributes, of which there are none
        delta, at = decode_varint(buffer, at)
        key, at = _bytes(buffer, at)
        value, at = _bytes(buffer, at)
        headers = headers_of(bytes(buffer[at:end]))
        self._pos = end
        is_appended = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if is_appended else self.first_timestamp + since
        return _DefaultRecordPy(self.base_offset + delta, timestamp, self.timestamp_type, key, value, headers)


def _bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    return (None, at) if length < 0 else (bytes(buffer[at : at + length]), at + length)


class _Batches:
    """The whole batches of a fetch from an offset on, one after the other, as aiokafka asks for them."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._batches = deque(batch for batch in map(_Batch, _cut(data)) if batch.next_offset > offset)

    def has_next(self) -> bool:
        """Whether there is another one."""
        return bool(self._batches)

    def next_batch(self) -> _Batch:
        """Return the next one."""
        return self._batches.popleft()


def _cut(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + _LENGTH.size + length
        if end > len(data):
            return
        yield data[at:end]
        at = end


class _PartitionRecords(fetcher.PartitionRecords):
    """The records of a fetch of one partition: by aiokafka's fast decoder as far as that comes, then by ours."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (UnicodeDecodeError, CorruptRecordException):
            # The same batch once more, and those behind it: which producers' are aborted is known up to there.
            self._records = _Batches(self._records.data, self.next_fetch_offset)
            yield from super()._unpack_records()

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record if self._value_deserializer is undressed else super()._consumer_record(tp, record)


def undressed(value: bytes | None) -> bytes | None:
    """Return a value as it is.

    As a consumer's `value_deserializer` it also spares its records aiokafka's `ConsumerRecord`, which takes longer to
    make than all the rest of a record: they have offset, timestamp, key, value and headers, and no topic or partition.
    """
    return value


def reading_consumer(**options: Any) -> AIOKafkaConsumer:
    """Return aiokafka's consumer, made to read any header name, and to fetch with less ado."""
    if CLUSTER in options:
        return options[CLUSTER].consumer(**options)
    # Its fetcher offers no other place to say so; other consumers of this process lose nothing by it.
    fetcher.MemoryRecords, fetcher.PartitionRecords = _Fetched, _PartitionRecords
    fetcher.FetchRequest = QuickFetchRequest
    consumer.Fetcher = AttentiveFetcher
    return AIOKafkaConsumer(**options)
