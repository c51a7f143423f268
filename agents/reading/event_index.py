"""The event index: every event that counts, by all that it is asked for: aggregate, offset, type, time, CID and others.

All other followers rest on it: they catch up from its rows, and the reader's rule goes on from its chain ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from libipld import encode_dag_cbor

from annals.agents.reading.layout import (
    ABSENT,
    ACTORS,
    AGGREGATES,
    CAUSATIONS,
    COMMANDS,
    CORRELATIONS,
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
    encode_aggregate,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.ports import Rows
    from annals.schemas.journal_reader import Counted


class EventIndex:
    """Indexes events. Its position is the shard's, its version the store's format."""

    def fold(self, events: Sequence[Counted[Any]], rows: Rows) -> None:
        """Add events to all indexes. `last` of an aggregate's first event here is its row before them."""
        put = rows.put
        ends: dict[bytes, AggregateRow] = {}
        times: dict[int, tuple[str, str]] = {}
        for counted in events:
            event, key, cid = counted.event, counted.key, counted.cid
            # Canonical (`read_block` has compared it), so that these are the bytes that are in the journal.
            block = encode_dag_cbor(event)
            offset = number(counted.offset)
            place = len(key).to_bytes(LENGTH, "big") + key + number(event["version"])
            put(EVENTS + place, offset + cid + block)
            put(OFFSETS + offset, place)
            put(HASHES + cid[HASH] + offset, b"")
            for space, text in (
                (TYPES, event["type"]),
                (CORRELATIONS, event["correlation_id"]),
                (CAUSATIONS, event["causation_id"]),
                (COMMANDS, event["command_id"]),
                (ACTORS, event["actor"]),
            ):
                if text is not None:
                    encoded = text.encode()
                    put(space + len(encoded).to_bytes(LENGTH, "big") + encoded + offset, b"")
            at = event["recorded_at"]
            end = ends.get(key) or counted.last
            first_at = at if end is ABSENT else end.first_at
            ends[key] = AggregateRow(event["version"], counted.offset, end.block_bytes + len(block), cid, first_at, at)
            least, greatest = times.get(counted.offset // TIMES_BLOCK, (at, at))
            times[counted.offset // TIMES_BLOCK] = min(least, at), max(greatest, at)
        for key, end in ends.items():
            put(AGGREGATES + key, encode_aggregate(end))
        for block_number, span in times.items():
            _widen(rows, block_number, *span)


def _widen(rows: Rows, block_number: int, least: str, greatest: str) -> None:
    key = TIMES + number(block_number)
    value = rows.get(key)
    if value is not None:
        known = value.decode()
        least, greatest = min(least, known[:TIME]), max(greatest, known[TIME:])
    rows.put(key, (least + greatest).encode())
