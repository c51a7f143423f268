"""The event index: every event that counts, by all that it is asked for: aggregate, offset, type, time, CID and others.

All other followers rest on it: they catch up from its rows, and the reader's rule goes on from its chain ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.layout import (
    ABSENT,
    ACTORS,
    AGGREGATES,
    CAUSATIONS,
    COMMANDS,
    CORRELATIONS,
    COUNTS,
    EVENTS,
    HASH,
    HASHES,
    LENGTH,
    OFFSETS,
    TIME,
    TIMES,
    TIMES_BLOCK,
    TYPES,
    AggregateRow,
    Counts,
    encode_aggregate,
    encode_counts,
    number,
    read_counts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.overlay import Overlay
    from annals.agents.reading.ports import Rows
    from annals.schemas.journal_reader import Counted


KNOWN_PREFIXES: Final = 1_000


class EventIndex:
    """Indexes events. Its position is the shard's, its version the store's format."""

    def __init__(self) -> None:
        """Know no texts yet."""
        self._prefixes: dict[tuple[bytes, str], bytes] = {}

    def fold(self, events: Sequence[Counted[Any]], blocks: Sequence[bytes], rows: Overlay) -> None:
        """Add events and their blocks to all indexes. `last` of an aggregate's first event is its row before them."""
        if not events:
            return
        changes = rows.changes
        ends: dict[bytes, AggregateRow] = {}
        times: dict[int, tuple[str, str]] = {}
        there = read_counts(rows)  # before any of these changes
        size = beginnings = 0
        for counted, block in zip(events, blocks, strict=True):
            event, key, cid = counted.event, counted.key, counted.cid
            offset = number(counted.offset)
            place = len(key).to_bytes(LENGTH, "big") + key + number(event["version"])
            changes[EVENTS + place] = offset + cid + block
            changes[OFFSETS + offset] = place
            changes[HASHES + cid[HASH] + offset] = b""
            changes[self._prefix(TYPES, event["type"]) + offset] = b""
            command = _text(event["command_id"])
            changes[COMMANDS + command + offset] = b""
            is_first = event["correlation_id"] == event["command_id"]
            changes[CORRELATIONS + (command if is_first else _text(event["correlation_id"])) + offset] = b""
            if event["causation_id"] is not None:
                changes[CAUSATIONS + _text(event["causation_id"]) + offset] = b""
            if event["actor"] is not None:
                changes[self._prefix(ACTORS, event["actor"]) + offset] = b""
            at = event["recorded_at"]
            end = ends.get(key) or counted.last
            first_at = at if end is ABSENT else end.first_at
            size, beginnings = size + len(block), beginnings + (end is ABSENT)
            ends[key] = AggregateRow(event["version"], counted.offset, end.block_bytes + len(block), cid, first_at, at)
            least, greatest = times.get(counted.offset // TIMES_BLOCK, (at, at))
            times[counted.offset // TIMES_BLOCK] = min(least, at), max(greatest, at)
        for key, end in ends.items():
            changes[AGGREGATES + key] = encode_aggregate(end)
        counts = Counts(there.events + len(events), there.aggregates + beginnings, there.block_bytes + size)
        changes[COUNTS] = encode_counts(counts)
        for block_number, span in times.items():
            _widen(rows, block_number, *span)

    def _prefix(self, space: bytes, text: str) -> bytes:
        """Return the prefix of a text of which there are few."""
        known = self._prefixes.get((space, text))
        if known is None:
            if len(self._prefixes) >= KNOWN_PREFIXES:
                self._prefixes.clear()
            known = self._prefixes[space, text] = space + _text(text)
        return known


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(LENGTH, "big") + encoded


def _widen(rows: Rows, block_number: int, least: str, greatest: str) -> None:
    key = TIMES + number(block_number)
    value = rows.get(key)
    if value is not None:
        known = value.decode()
        least, greatest = min(least, known[:TIME]), max(greatest, known[TIME:])
    rows.put(key, (least + greatest).encode())
