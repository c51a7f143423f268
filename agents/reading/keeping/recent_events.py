"""The last events that a shard has folded, in memory: who goes on with the journal has them without the store.

A stream and a publisher that have caught up ask for what was folded a moment ago. Out of the store each such event
takes four look-ups, and is decoded and hashed again.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from annals.agents.folding.turns import TURN_RECORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.found import JournalEvent

MOST_EVENTS: Final = 2 * TURN_RECORDS
MOST_BYTES: Final = 1 << 18  # of blocks; decoded an event takes some five times as much


class RecentEvents:
    """Events that count, without a gap: all at and behind an offset, up to where the shard has read."""

    def __init__(self, offset: int) -> None:
        """Begin with none. offset: of the next record that is folded."""
        self._begin = offset
        self.journal = b""  # a part of the CID of the journal's first event, once somebody has looked
        self._events: list[JournalEvent] = []
        self._offsets: list[int] = []
        self._bytes = 0

    def add(self, events: Sequence[JournalEvent]) -> None:
        """Keep events that were folded behind those that are kept, and forget the first of too many."""
        kept = self._events
        kept += events
        self._offsets += [event.offset for event in events]
        self._bytes += sum([len(event.block) for event in events])
        surplus = 0
        while self._bytes > MOST_BYTES or len(kept) - surplus > MOST_EVENTS:
            self._bytes -= len(kept[surplus].block)
            surplus += 1
        if surplus:
            self._begin = self._offsets[surplus - 1] + 1
            del kept[:surplus], self._offsets[:surplus]

    def since(self, offset: int) -> list[JournalEvent] | None:
        """Return all events from an offset on; None where that is not known any more."""
        return None if offset < self._begin else self._events[bisect_left(self._offsets, offset) :]

    def last_before(self, offset: int) -> JournalEvent | None:
        """Return the last event below an offset; None where that is not kept."""
        at = bisect_left(self._offsets, offset)
        return self._events[at - 1] if at else None
