"""The event index: every event that counts, by all that it is asked for: aggregate, offset, type, time, CID and others.

All other followers rest on it: they catch up from its rows, and the reader's rule goes on from its chain ends.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.keeping.layout import (
    ABSENT,
    ACTORS,
    AGGREGATES,
    BLOCK,
    BLOCK_TIMES,
    CAUSATIONS,
    COMMANDS,
    CORRELATIONS,
    COUNTS,
    EVENTS,
    HASH,
    HASHES,
    LENGTH,
    NUMBER,
    OFFSETS,
    STRETCH,
    STRETCH_TIMES,
    TIME,
    TYPES,
    AggregateRow,
    Counts,
    encode_aggregate,
    encode_counts,
    number,
    read_counts,
)
from annals.topics.headers import LONGEST_KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.reading.keeping.overlay import Overlay
    from annals.agents.reading.ports import Rows
    from annals.schemas.journal_reader import Counted


KNOWN_PREFIXES: Final = 1_000


class _Prefixes(dict[str, bytes]):
    """The prefixes of a key space by text, for texts of which there are few; long ones are not remembered."""

    def __init__(self, space: bytes) -> None:
        self._space = space

    def __missing__(self, text: str) -> bytes:
        prefix = self._space + _text(text)
        if len(text) <= LONGEST_KNOWN:
            if len(self) >= KNOWN_PREFIXES:
                self.clear()
            self[text] = prefix
        return prefix


class EventIndex:
    """Indexes events. Its position is the shard's, its version the store's format."""

    def __init__(self) -> None:
        """Know no texts yet."""
        self._types = _Prefixes(TYPES)
        self._actors = _Prefixes(ACTORS)

    def fold(self, events: Sequence[Counted[Any]], blocks: Sequence[bytes], rows: Overlay) -> None:
        """Add events and their blocks to all indexes. `last` of an aggregate's first event is its row before them."""
        if not events:
            return
        changes, types, actors = rows.changes, self._types, self._actors
        ends: dict[bytes, AggregateRow] = {}
        times: dict[int, tuple[str, str]] = {}
        marks: defaultdict[bytes, bytearray] = defaultdict(bytearray)
        by_place: dict[bytes, bytes] = {}
        hashes: list[bytes] = []
        commands: list[bytes] = []
        there = read_counts(rows)  # before any of these changes
        size = beginnings = 0
        for counted, block in zip(events, blocks, strict=True):
            event, key, cid = counted.event, counted.key, counted.cid
            version, command_id = event["version"], event["command_id"]
            # As `number` and `_text`, whose calls would be a tenth of this loop.
            offset = counted.offset.to_bytes(NUMBER, "big")
            place = len(key).to_bytes(LENGTH, "big") + key + version.to_bytes(NUMBER, "big")
            encoded = command_id.encode()
            command = len(encoded).to_bytes(LENGTH, "big") + encoded + offset
            by_place[EVENTS + place] = offset + cid + block
            changes[OFFSETS + offset] = place
            hashes.append(HASHES + cid[HASH] + offset)
            commands.append(COMMANDS + command)
            if event["correlation_id"] != command_id:
                changes[CORRELATIONS + _text(event["correlation_id"]) + offset] = b""
            if event["causation_id"] is not None:
                changes[CAUSATIONS + _text(event["causation_id"]) + offset] = b""
            block_number, mark = divmod(counted.offset, BLOCK)
            in_block = block_number.to_bytes(NUMBER, "big")
            marks[types[event["type"]] + in_block].append(mark)
            if event["actor"] is not None:
                marks[actors[event["actor"]] + in_block].append(mark)
            at = event["recorded_at"]
            end = ends.get(key) or counted.last
            first_at = at if end is ABSENT else end.first_at
            size, beginnings = size + len(block), beginnings + (end is ABSENT)
            ends[key] = AggregateRow(version, counted.offset, end.block_bytes + len(block), cid, first_at, at)
            span = times.get(block_number)
            if span is None:
                times[block_number] = at, at
            elif at > span[1]:
                times[block_number] = span[0], at
            elif at < span[0]:
                times[block_number] = at, span[1]
        for place, added in marks.items():
            changes[place] = (rows.get(place) or b"") + added
        # RocksDB takes rows that come in the order of their keys in less time.
        changes.update(dict.fromkeys(sorted(hashes), b""))
        changes.update(dict.fromkeys(sorted(commands), b""))
        changes.update(sorted(by_place.items()))
        for key, end in sorted(ends.items()):
            changes[AGGREGATES + key] = encode_aggregate(end)
        counts = Counts(there.events + len(events), there.aggregates + beginnings, there.block_bytes + size)
        changes[COUNTS] = encode_counts(counts)
        _widen_times(rows, times)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(LENGTH, "big") + encoded


def _widen_times(rows: Rows, times: Mapping[int, tuple[str, str]]) -> None:
    """Take the least and the greatest time of some blocks into their rows, and into those of their stretches."""
    stretches: dict[int, tuple[str, str]] = {}
    for block_number, (least, greatest) in times.items():
        _widen(rows, BLOCK_TIMES + number(block_number), least, greatest)
        stretch = block_number * BLOCK // STRETCH
        span = stretches.get(stretch, (least, greatest))
        stretches[stretch] = min(span[0], least), max(span[1], greatest)
    for stretch, span in stretches.items():
        _widen(rows, STRETCH_TIMES + number(stretch), *span)


def _widen(rows: Rows, key: bytes, least: str, greatest: str) -> None:
    value = rows.get(key)
    if value is not None:
        known = value.decode()
        least, greatest = min(least, known[:TIME]), max(greatest, known[TIME:])
    rows.put(key, (least + greatest).encode())
