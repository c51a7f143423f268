"""Record batches taken apart: keys, values, and headers as they stand, undecoded.

The format is that of KIP-98 (magic 2, https://kafka.apache.org/documentation/#recordbatch). aiokafka's decoder makes a
tuple, a text and bytes of each header, which for events with their twelve and more is most of its time; who knows what
the headers should be compares them in one piece. `headers_of` decodes them for everybody else.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.record.util import calc_crc32c

from annals.agents.defects import is_of_machine
from annals.agents.ports import DamagedBatchError
from annals.topics.wire import signed_at
from annals.workers.kafka.protocol.unpacking import MOST_HEADERS, OversizedError, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    Record = tuple[int, bytes | None, bytes | None, bytes]  # offset, key, value, headers as they stand

_HEADER: Final = Struct(">qiibIhiqqqhii")
_OFFSET_BYTES: Final = 8
_LENGTH_AT: Final = 12  # the batch's length counts from behind itself
_CHECKED_AT: Final = 21  # the checksum is of everything behind itself
_MARKER: Final = Struct(">hh")  # version and type of a control record's key
_ABORT: Final = 0
MAGIC: Final = 2
_CODEC: Final = 0x07  # bits of the attributes
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_CONTINUED: Final = 0x80  # a byte of a varint that is not its last
NO_HEADERS: Final = b"\0"
MOST_UNREAD: Final = 1_000  # records of a batch that is too large to be read: told one by one, as foreign, up to here


class FormatError(Exception):
    """A record batch is not of the format that this reads; the message says which it is."""


class ChecksumError(FormatError, DamagedBatchError):
    """A record batch is not what its writer sent; the message says which it is.

    offset: where it is, or was; goes_on_at: where what is there begins, if offsets are missing.
    """

    def __init__(self, message: str, offset: int, goes_on_at: int | None = None) -> None:
        """Take what is wrong, and where."""
        super().__init__(message)
        self.offset = offset
        self.goes_on_at = goes_on_at


def damaged(offset: int, damage: str, goes_on_at: int | None = None) -> ChecksumError:
    """Return the error that says what is wrong with the batch at an offset."""
    return ChecksumError(f"the record batch at offset {offset} is damaged: {damage}", offset, goes_on_at)


class Batch(NamedTuple):
    """One record batch: its place in the partition, its transaction, how many records it has, and they as they came."""

    base_offset: int
    next_offset: int
    producer_id: int
    attributes: int
    size: int
    body: bytes

    @property
    def is_transactional(self) -> bool:
        """Whether it is part of a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it holds a transaction's marker instead of records."""
        return bool(self.attributes & _CONTROL)

    def is_abort(self) -> bool:
        """Whether it is the marker of an aborted transaction."""
        (_, key, *_), *_ = self.records()
        _, kind = _MARKER.unpack_from(key or b"")
        return bool(kind == _ABORT)

    def records(self) -> Iterator[Record]:
        """Yield the records. One that cannot be read, on a disk that rots, is one without key and value, and the last.

        Those of a batch that unpacks to more than is read (`annals.workers.kafka.protocol.unpacking`) are all without
        key and value. What is checked is the frame: nothing is said of what is inside.
        """
        number = -1
        try:
            for number, record in enumerate(_records(self)):  # noqa: B007 - how far it came
                yield record
        except OversizedError:
            for number in range(min(self.size, MOST_UNREAD)):
                yield (self.base_offset + number, None, None, NO_HEADERS)
        except Exception as error:  # each codec has errors of its own
            if is_of_machine(error):  # the record would be passed by for good, and is what its writer sent
                raise
            yield (self.base_offset + number + 1, None, None, NO_HEADERS)


def batches_of(data: bytes, start: int = 0, *, is_checked: bool = False, is_compacted: bool = True) -> list[Batch]:
    """Return the whole batches in a fetch from an offset, up to one that cannot be read, as `whole_batches`."""
    return whole_batches(data, start, is_checked=is_checked, is_compacted=is_compacted)[0]


def whole_batches(
    data: bytes, start: int = 0, *, is_checked: bool = False, is_compacted: bool = True
) -> tuple[list[Batch], ChecksumError | None]:
    """Return the whole batches in a fetch from an offset up to one that is damaged, and what is wrong with that one.

    What is cut off at the end, or of another format, is left out behind others: the next fetch begins with it. It would
    not begin with any damaged batch: brokers pass over one that ends, by its own words, below the offset asked for.
    is_checked: whether the checksums must be right. Where they need not be, a batch is damaged if no reading could go
    on behind it: by its length or its base offset, which are in no checksum, or by its last offset.
    is_compacted: whether offsets may be missing. Where none may, one that is was taken by a base offset that leads
    forward, or by a segment that is gone.

    Raises:
        FormatError: the first batch is of another format.
        ChecksumError: the first batch is damaged.
    """
    batches: list[Batch] = []
    at, reached = 0, start
    while at + _HEADER.size <= len(data):
        base, length, _, magic, checksum, attributes, last, _, _, producer, _, _, count = _HEADER.unpack_from(data, at)
        end, next_offset = at + _LENGTH_AT + length, base + last + 1
        damage, is_cut_off, place, goes_on_at = "", end > len(data), base, None
        if is_cut_off:
            damage = f"of its {length} bytes there are {len(data) - at - _LENGTH_AT}"
        elif end < at + _HEADER.size:
            damage = f"{length} bytes are no length"
        elif batches and base < reached:
            damage = f"it begins at offset {base}, and those before it reach to {reached}"
            if not is_compacted and len(batches) == 1 and batches[0].base_offset:
                # Which of the two is where it was cannot be told; behind others, those say so of the first one.
                batches, place = [], start
        elif next_offset <= reached:
            damage = f"it ends below offset {next_offset}, and those before it reach to {reached}"
        elif base > reached and not is_compacted:
            damage, place, goes_on_at = f"what is there begins at offset {base}", reached, base
        elif (is_checked or count != last + 1) and not _is_as_written(data, at, end, checksum):
            # Compaction takes records and leaves the last offset. That one is right if what follows says so, too.
            following = data[end : end + _OFFSET_BYTES]
            goes_on = int.from_bytes(following, "big", signed=True) >= next_offset
            is_cut_off = not is_checked and len(following) < _OFFSET_BYTES
            if is_checked or is_cut_off or count > last + 1 or not goes_on:
                damage = f"its checksum is not {checksum:#010x}"
        if batches and (is_cut_off or magic != MAGIC):
            break
        if magic != MAGIC:
            raise FormatError(f"the record batch at offset {base} has format {magic}: only {MAGIC} is read")
        if damage:
            error = damaged(place, damage, goes_on_at)
            if not batches:
                raise error
            return batches, error
        batches.append(Batch(base, next_offset, producer, attributes, count, data[at + _HEADER.size : end]))
        at, reached = end, next_offset
    if data and not batches:
        raise damaged(start, f"there are {len(data)} bytes of it")
    return batches, None


def _is_as_written(data: bytes, at: int, end: int, checksum: int) -> bool:
    return bool(calc_crc32c(memoryview(data)[at + _CHECKED_AT : end].tobytes()) == checksum)


def _records(batch: Batch) -> Iterator[Record]:
    body = unpack(codec, batch.body) if (codec := batch.attributes & _CODEC) else batch.body
    base, at = batch.base_offset, 0
    for _ in range(batch.size):
        # Varints are read in place where they are as short as nearly always: calls would double the time.
        low = body[at]
        if low < _CONTINUED:
            end = at + 1 + (low >> 1)
            at += 2
        elif (high := body[at + 1]) < _CONTINUED:
            end = at + 2 + ((low & 0x7F | high << 7) >> 1)
            at += 3
        else:
            length, at = signed_at(body, at)
            end = at + length
            at += 1
        while body[at] >= _CONTINUED:  # the timestamp is not looked at
            at += 1
        at += 1
        low = body[at]
        if low < _CONTINUED:
            offset = base + (low >> 1)
            at += 1
        elif (high := body[at + 1]) < _CONTINUED:
            offset = base + ((low & 0x7F | high << 7) >> 1)
            at += 2
        else:
            delta, at = signed_at(body, at)
            offset = base + delta
        low = body[at]
        if low & 0x81 == 0:
            at += 1
            to = at + (low >> 1)
        else:
            length, at = signed_at(body, at)
            to = at + length if length >= 0 else -1
        key = None if to < 0 else body[at:to]
        at = at if to < 0 else to
        low, high = body[at], body[at + 1]
        if low & 0x81 == 0x80 and high < _CONTINUED:
            at += 2
            to = at + ((low & 0x7F | high << 7) >> 1)
        else:
            length, at = signed_at(body, at)
            to = at + length if length >= 0 else -1
        value = None if to < 0 else body[at:to]
        at = at if to < 0 else to
        if not at < end <= len(body):
            raise ValueError("a record ends before its parts do")
        yield offset, key, value, body[at:end]
        at = end
    if at != len(body):  # a length that has the next batch pass for a part of this one
        raise ValueError("a batch goes on behind its records")


def headers_of(raw: bytes) -> list[tuple[str, bytes | None]]:
    """Decode the headers of a record. A name's bytes that are not UTF-8 become surrogates (PEP 383).

    Raises:
        ValueError: they are not whole, or more than are read.
    """
    try:
        return _headers_of(raw)
    except IndexError as error:
        raise ValueError("headers end in the middle") from error


def _headers_of(raw: bytes) -> list[tuple[str, bytes | None]]:
    count, at = signed_at(raw, 0)
    if count > MOST_HEADERS:
        raise ValueError(f"more than {MOST_HEADERS} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        if (low := raw[at]) & 0x81 == 0:  # in place, as nearly all are: see `_records`
            length, at = low >> 1, at + 1
        else:
            length, at = signed_at(raw, at)
        name = raw[at : at + length].decode(errors="surrogateescape")
        at += length
        if (low := raw[at]) & 0x81 == 0:
            length, at = low >> 1, at + 1
        else:
            length, at = signed_at(raw, at)
        value = None if length < 0 else raw[at : at + length]
        at += max(length, 0)
        headers.append((name, value))
    if at != len(raw):
        raise ValueError("headers end before or behind their record")
    return headers
