"""One partition's log in memory: record batches as they were produced, markers, and how far it is stable.

A batch of a transaction is open until the transaction's marker says that it is committed or aborted. Markers take an
offset like a record. Everything below the last stable offset is decided (KIP-98).
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.workers.kafka.protocol.record_batches import batches_of, headers_of
from annals.workers.kafka.write.batches import BATCH_HEADER_BYTES, HEADER, NO_LEADER_EPOCH, TRANSACTIONAL, checksummed
from annals.workers.memory.codes import Code
from annals.workers.memory.producers import Producers

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREVER: Final = (1 << 63) - 1
CONTROL: Final = 0x20
_MARKER_KEY: Final = struct.Struct(">hh")  # version, type
_BASE: Final = struct.Struct(">q")


class Status(Enum):
    """What became of a batch."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Rules(NamedTuple):
    """The settings of a topic that decide whether a batch is taken.

    before_max_ms and after_max_ms: how far a record's time may be from the broker's; appends_time: whether records have
    the broker's time instead.
    """

    max_message_bytes: int = 8 << 20
    before_max_ms: int = FOREVER
    after_max_ms: int = FOREVER
    appends_time: bool = False


class Record(NamedTuple):
    """A record as a consumer has it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


class Entry:
    """A batch or a marker in the log."""

    __slots__ = ("_records", "base", "data", "end", "is_marker", "producer_id", "status", "timestamp")

    def __init__(
        self, base: int, end: int, producer_id: int, status: Status, data: bytes, timestamp: int, *, is_marker: bool
    ) -> None:
        """Take the offsets, whose it is, what became of it, and the bytes that a fetch returns."""
        self.base = base
        self.end = end
        self.producer_id = producer_id
        self.status = status
        self.data = data
        self.timestamp = timestamp
        self.is_marker = is_marker
        self._records: tuple[Record, ...] | None = None

    def records(self) -> tuple[Record, ...]:
        """Return the records of a batch, decoded once."""
        if self._records is None:
            (batch,) = batches_of(self.data)
            self._records = tuple(
                Record(offset, key, value, tuple(headers_of(raw)), self.timestamp)
                for offset, key, value, raw in batch.records()
            )
        return self._records


class PartitionLog:
    """The log of one partition."""

    def __init__(self, rules: Rules) -> None:
        """Begin empty, at offset 0."""
        self.start = 0
        self.end = 0
        self.entries: list[Entry] = []
        self.producers = Producers()
        self.aborted: list[tuple[int, int, int]] = []  # producer, first offset, offset of the marker
        self._rules = rules

    @property
    def stable(self) -> int:
        """The last stable offset: behind it nothing is decided yet."""
        first = self.producers.first_open()
        return self.end if first is None else max(first, self.start)

    def first_since(self, timestamp: int, end: int) -> int:
        """Return the first offset below an end whose batch is of a time or later; -1: there is none."""
        return next((each.base for each in self.entries if each.timestamp >= timestamp and each.base < end), -1)

    def append(self, data: bytes, now_ms: int, *, begins_at_0: bool = False) -> tuple[Code, int]:
        """Append a batch as it comes over the wire; return its base offset, -1 where it is refused.

        begins_at_0: see `Producers.check`.
        """
        *_, attributes, last, _, timestamp, producer_id, epoch, sequence, _ = HEADER.unpack_from(data)
        rules, count = self._rules, last + 1
        if len(data) > rules.max_message_bytes:
            return Code.MESSAGE_TOO_LARGE, -1
        if rules.appends_time:
            timestamp = now_ms
        elif timestamp > now_ms + rules.after_max_ms or timestamp < now_ms - rules.before_max_ms:
            return Code.INVALID_TIMESTAMP, -1
        is_transactional = bool(attributes & TRANSACTIONAL)
        base = self.end
        if producer_id >= 0:
            code, known_base = self.producers.check(producer_id, epoch, sequence, count, begins_at_0=begins_at_0)
            if code or known_base is not None:
                return code, -1 if known_base is None else known_base
            self.producers.appended(producer_id, epoch, sequence, count, base, is_transactional=is_transactional)
        status = Status.OPEN if is_transactional else Status.COMMITTED
        placed = _BASE.pack(base) + data[_BASE.size :]
        self.end = base + count
        self.entries.append(Entry(base, self.end, producer_id, status, placed, timestamp, is_marker=False))
        return Code.NONE, base

    def mark(self, producer_id: int, epoch: int, *, commits: bool) -> None:
        """Append the marker that ends a producer's transaction here."""
        status = Status.COMMITTED if commits else Status.ABORTED
        first: int | None = None
        for entry in reversed(self.entries):
            if entry.producer_id == producer_id and entry.status is Status.OPEN:
                entry.status, first = status, entry.base
        if first is not None and not commits:
            self.aborted.append((producer_id, first, self.end))
        self.producers.ended(producer_id, epoch)
        data = _marker(self.end, producer_id, epoch, commits=commits)
        self.entries.append(Entry(self.end, self.end + 1, producer_id, status, data, 0, is_marker=True))
        self.end += 1

    def committed(self, start: int, most: int) -> tuple[list[Record], int]:
        """Return committed records from an offset on, of at least one batch and about `most`, and where to go on."""
        found: list[Record] = []
        if start >= self.end:  # most who ask have read it all
            return found, start
        stable, position = self.stable, start
        for entry in self._from(start):
            if entry.end > stable or len(found) >= most:
                break
            position = entry.end
            if not entry.is_marker and entry.status is Status.COMMITTED:
                found += [record for record in entry.records() if record.offset >= start]
        return found, position

    def data(self, start: int, limit: int, end: int) -> bytes:
        """Return the batches from the one with an offset on, below an end: at least one, then up to a limit."""
        parts: list[bytes] = []
        size = 0
        for entry in self._from(start):
            if entry.end > end or (parts and size + len(entry.data) > limit):
                break
            parts.append(entry.data)
            size += len(entry.data)
        return b"".join(parts)

    def delete_before(self, offset: int) -> Code:
        """Let what is below an offset expire."""
        if offset > self.end:
            return Code.OFFSET_OUT_OF_RANGE
        self.start = max(self.start, offset)
        self.entries = [entry for entry in self.entries if entry.end > self.start]
        return Code.NONE

    def truncate(self, end: int) -> list[Entry]:
        """Lose what is from an offset on, as by an unclean election of a leader: no request asks for this.

        Return what was lost.
        """
        lost = [entry for entry in self.entries if entry.end > end]
        self.entries = self.entries[: len(self.entries) - len(lost)]
        self.end = self.entries[-1].end if self.entries else self.start
        self.aborted = [each for each in self.aborted if each[2] < self.end]
        self.producers.truncated(self.end)
        return lost

    def _from(self, start: int) -> Iterator[Entry]:
        low, high = 0, len(self.entries)
        while low < high:
            middle = (low + high) // 2
            if self.entries[middle].end <= start:
                low = middle + 1
            else:
                high = middle
        for index in range(low, len(self.entries)):
            yield self.entries[index]


def _marker(base: int, producer_id: int, epoch: int, *, commits: bool) -> bytes:
    """Return a control batch with one record: the key has version and type, the value is not looked at."""
    key = _MARKER_KEY.pack(0, int(commits))
    record = b"\x00\x00\x00\x08" + key + b"\x00" + b"\x00"  # attributes, time, offset, key, an empty value, no headers
    body = bytes([len(record) << 1]) + record
    length = BATCH_HEADER_BYTES - 12 + len(body)
    attributes = TRANSACTIONAL | CONTROL
    head = HEADER.pack(base, length, NO_LEADER_EPOCH, 2, 0, attributes, 0, 0, 0, producer_id, epoch, -1, 1)
    return checksummed(head, body)
