"""A consumer that reads records whose header names are not UTF-8.

The broker stores such a name, and a producer in C, Go or Rust can send one; aiokafka's decoder raises, at each attempt
anew, so that one record would hold its partition up for ever. What aiokafka cannot decode is decoded here: a name's
stray bytes become surrogates (PEP 383), which `annals.topics.wire` writes back as the bytes that they were.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.util import decode_varint

from annals.agents.ports import DamagedBatchError
from annals.agents.record_sizes import bytes_of
from annals.topics.encoded_headers import EncodedHeaders
from annals.topics.wire import signed_at
from annals.workers.kafka.connections import CLUSTER, creating_nothing
from annals.workers.kafka.group.active_partitions import AttentiveFetcher
from annals.workers.kafka.group.coordinator import LastingCoordinator
from annals.workers.kafka.group.journal_records import JournalBatch
from annals.workers.kafka.protocol.fetches import QuickFetchRequest
from annals.workers.kafka.protocol.record_batches import MAGIC, MOST_UNREAD, headers_of
from annals.workers.kafka.protocol.unpacking import (
    LEAST_HEADER,
    MOST_HEADERS,
    OversizedError,
    bound_aiokafka,
    refuse_many_headers,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD: Final = Struct(">qi")  # a batch's base offset, and its length from behind these two on
_LAST: Final = Struct(">i")
_LAST_AT: Final = 23  # a batch's last offset, counted from its base offset
_LEAST: Final = 26  # bytes of a message of the oldest format, alone
MAGIC_AT: Final = 16
STEP_BYTES: Final = 8 << 20  # of one partition's records, handed out at once
STEP_RECORDS: Final = 10_000
DAMAGED: Final = "is damaged: its checksum, its length or an offset is wrong"


class DamagedFetchError(CorruptRecordException, DamagedBatchError):
    """A record batch is not what its writer sent; the message names it."""

    __str__ = Exception.__str__


class Unreadable(NamedTuple):
    """Stands in the records of a shard's partition where a batch is damaged. Those before it are whole."""

    offset: int
    reason: str
    key: None = None
    value: None = None
    headers: tuple[()] = ()


class _Fetched(fetcher.MemoryRecords):
    """The batches of a fetch, with the bytes that they came as.

    of_journal: of events; whole_from: the offset of the fetch where none may be missing behind it, None where some may.
    doubt: what is wrong with the first one, where it is not known to be where it was.
    """

    of_journal = False
    whole_from: int | None = None
    doubt: str | None = None

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self._at = 0
        self._reached = 0

    @property
    def lone_base(self) -> int | None:
        """The base offset of the first batch, where none may be missing before it and nothing behind it proves it.

        None, too, once it was taken.
        """
        if self._at or self.whole_from is None or len(self.data) < _LEAST or self.data[MAGIC_AT] != MAGIC:
            return None
        base, length = _HEAD.unpack_from(self.data)
        return base if base > 0 and len(self.data) < 2 * _HEAD.size + length else None

    def has_next(self) -> bool:
        """Whether there is another batch: a whole one, or a first one that is not, as brokers send none (KIP-74)."""
        return bool(super().has_next() or (self.data and not self._at))

    def next_batch(self) -> Any:
        """Return the next batch; one that aiokafka's decoder would make too much of comes as ours."""
        if not super().has_next():
            raise CorruptRecordException
        start = self._at
        base, length = _HEAD.unpack_from(self.data, start)
        self._at = start + _HEAD.size + length
        if base < self._reached or length < _LEAST - _HEAD.size:
            raise CorruptRecordException
        is_new = self.data[start + MAGIC_AT] == MAGIC
        if is_new and self.whole_from is not None and base > (self._reached if start else self.whole_from):
            raise CorruptRecordException
        if is_new and self.whole_from is not None and not start and (self.doubt or _is_doubtful(self.data)):
            raise CorruptRecordException
        if is_new and self._at - start < _DefaultRecordBatchPy.HEADER_STRUCT.size:
            raise CorruptRecordException
        batch = super().next_batch()
        self._reached = batch.next_offset
        if self.of_journal and is_new:
            return JournalBatch(batch, self.data[start : self._at])
        if self._at - start > LEAST_HEADER * MOST_HEADERS and not batch.compression_type and not batch.is_control_batch:
            try:
                refuse_many_headers(self.data[start : self._at], _DefaultRecordBatchPy.HEADER_STRUCT.size)
            except OversizedError:
                return _Batch(self.data[start : self._at])
        return batch


class _Batch(_DefaultRecordBatchPy):
    """A batch whose header names may be any bytes, which may have more headers and unpack to more than is read."""

    _pos: int
    _buffer: bytearray
    _decompressed: bool
    _num_records: int
    _is_oversized = False

    def _maybe_uncompress(self) -> None:
        if self._decompressed or not self.compression_type:
            return
        self._decompressed = True
        try:
            self._buffer = bytearray(unpack(self.compression_type, bytes(self._buffer[self._pos :])))
        except OversizedError:
            self._is_oversized, self._buffer, self._num_records = True, bytearray(), min(self._num_records, MOST_UNREAD)
        self._pos = 0

    def __next__(self) -> Any:
        if not self._is_oversized or self._next_record_index >= self._num_records:
            return super().__next__()
        offset = self.base_offset + self._next_record_index
        self._next_record_index += 1
        return _DefaultRecordPy(offset, self.max_timestamp, self.timestamp_type, None, None, [])

    def _read_msg(self) -> Any:
        buffer = self._buffer
        length, at = decode_varint(buffer, self._pos)
        end = at + length
        since, at = decode_varint(buffer, at + 1)  # one byte of attributes, of which there are none
        delta, at = decode_varint(buffer, at)
        key, at = _bytes(buffer, at)
        value, at = _bytes(buffer, at)
        headers = _headers(bytes(buffer[at:end]))
        self._pos = end
        is_appended = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if is_appended else self.first_timestamp + since
        return _DefaultRecordPy(self.base_offset + delta, timestamp, self.timestamp_type, key, value, headers)


def _headers(raw: bytes) -> Any:
    count, at = signed_at(raw, 0)
    return headers_of(raw) if count <= MOST_HEADERS else EncodedHeaders(count, raw[at:])


def _bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    return (None, at) if length < 0 else (bytes(buffer[at : at + length]), at + length)


class _Batches:
    """The whole batches of a fetch from an offset on, one after the other, as aiokafka asks for them.

    For one whose length is none, or whose offsets lead back, or forward where none may be missing (`is_whole`), there
    is None, and no more behind it.
    """

    def __init__(self, data: bytes, offset: int, doubt: str | None, *, is_whole: bool) -> None:
        self.doubt = doubt
        is_damaged = doubt is not None or (is_whole and _is_doubtful(data))
        self._batches: deque[_Batch | None] = deque([None] if is_damaged else [])
        if self._batches:
            return
        reached = 0
        for part in _cut(data):
            batch = _Batch(part) if part else None
            if batch is None or not reached <= batch.base_offset < batch.next_offset:
                self._batches.append(None)
                break
            if is_whole and batch.base_offset > (reached or offset):
                self._batches.append(None)
                break
            reached = batch.next_offset
            if reached > offset:
                self._batches.append(batch)

    def has_next(self) -> bool:
        """Whether there is another one."""
        return bool(self._batches)

    def next_batch(self) -> _Batch:
        """Return the next one."""
        batch = self._batches.popleft()
        if batch is None:
            raise CorruptRecordException
        return batch


def _is_doubtful(data: bytes) -> bool:
    """Whether the first batch reaches into the second one, and none before them says which of them is where it was."""
    if len(data) < _HEAD.size:
        return False
    base, length = _HEAD.unpack_from(data)
    second = _HEAD.size + length
    if base <= 0 or length < _LAST_AT or len(data) < second + _HEAD.size:
        return False
    (last,) = _LAST.unpack_from(data, _LAST_AT)
    return bool(_HEAD.unpack_from(data, second)[0] <= base + last)


def _cut(data: bytes) -> Iterator[bytes]:
    """Yield the whole batches; nothing, and then no more, for one whose length is none."""
    at = 0
    while at + _HEAD.size <= len(data):
        end = at + _HEAD.size + _HEAD.unpack_from(data, at)[1]
        if end > len(data):
            break
        if end < at + _DefaultRecordBatchPy.HEADER_STRUCT.size:
            yield b""
            return
        yield data[at:end]
        at = end
    if data and not at:
        yield b""


class _PartitionRecords(fetcher.PartitionRecords):
    """The records of a fetch of one partition: by aiokafka's fast decoder as far as that comes, then by ours."""

    _records: Any

    def __init__(self, tp: Any, records: _Fetched, *others: Any) -> None:
        super().__init__(tp, records, *others)
        records.of_journal = self._value_deserializer is carried_alone
        if self._value_deserializer in WHOLE:
            records.whole_from = self.next_fetch_offset

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (UnicodeDecodeError, CorruptRecordException, OversizedError):
            # The same batch once more, and those behind it: which producers' are aborted is known up to there.
            is_whole = self._records.whole_from is not None
            data, doubt = self._records.data, self._records.doubt
            self._records = _Batches(data, self.next_fetch_offset, doubt, is_whole=is_whole)
        else:
            return
        try:
            yield from super()._unpack_records()
        except CorruptRecordException as error:
            place = f"{self._tp.topic}-{self._tp.partition}"
            reason = f"{place}: the record batch at offset {self.next_fetch_offset} {self._records.doubt or DAMAGED}"
            if self._value_deserializer not in BARE:
                raise DamagedFetchError(reason) from error
            yield Unreadable(self.next_fetch_offset, reason)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        if self._value_deserializer in BARE:
            return record
        if isinstance(record.headers, EncodedHeaders):  # nobody's that this project reads
            record = _DefaultRecordPy(
                record.offset, record.timestamp, record.timestamp_type, record.key, record.value, []
            )
        return super()._consumer_record(tp, record)


class _FetchResult(fetcher.FetchResult):
    """The fetched records of a partition, handed out within a bound of bytes as well as of number."""

    _partition_records: _PartitionRecords | None

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next records: no more than this many, and not much more than STEP_BYTES of them."""
        records = self._partition_records
        if not self.check_assignment(self._topic_partition) or records is None:
            return []
        taken: list[Any] = []
        size, most = 0, STEP_RECORDS if max_records is None else max_records
        try:
            for record in records:
                taken.append(record)
                size += bytes_of(record)
                if size > STEP_BYTES or len(taken) >= most:
                    self._update_position()
                    return taken
        except DamagedFetchError:
            if not taken:  # what is before the damage is handed out first, and the next fetch begins with it
                raise
        self._update_position()
        if records._records.doubt is None:  # noqa: SLF001 - what it may be in the place of was not met
            self._assignment.state_value(self._topic_partition).read_to = records.next_fetch_offset
        self._partition_records = None
        return taken


def undressed(value: bytes | None) -> bytes | None:
    """Return a value as it is.

    As a consumer's `value_deserializer` it also spares its records aiokafka's `ConsumerRecord`, which takes longer to
    make than all the rest of a record: they have offset, timestamp, key, value and headers, and no topic or partition.
    """
    return value


def carried_alone(value: bytes | None) -> bytes | None:
    """Return a value as it is; a journal's records come as with `undressed`, and with their carried headers alone."""
    return value


def of_whole_topic(value: bytes | None) -> bytes | None:
    """Return a value as it is; a missing offset is damage. Compacted topics lack some, and what others read may."""
    return value


BARE: Final = (undressed, carried_alone)
WHOLE: Final = (*BARE, of_whole_topic)


def reading_consumer(**options: Any) -> AIOKafkaConsumer:
    """Return aiokafka's consumer, made to read any header name, and to fetch with less ado."""
    if CLUSTER in options:
        return options[CLUSTER].consumer(**options)
    # Its fetcher offers no other place to say so; other consumers of this process lose nothing by it.
    bound_aiokafka()
    # aiokafka offers no other place to say so; other consumers of this process lose nothing by it.
    fetcher.MemoryRecords, fetcher.PartitionRecords = _Fetched, _PartitionRecords
    fetcher.FetchResult = _FetchResult
    fetcher.FetchRequest = QuickFetchRequest
    consumer.Fetcher, consumer.GroupCoordinator = AttentiveFetcher, LastingCoordinator
    return creating_nothing(AIOKafkaConsumer(**options))
