"""The last events that a shard has folded, in memory: who goes on with the journal has them without the store.

A stream and a publisher that have caught up ask for what was folded a moment ago. Out of the store each such event
takes four look-ups, and is checked and hashed again. Kept are blocks, decoded for each that asks: that takes less than
a microsecond of most events, while what is decoded takes 5 to 70 times the bytes of the block, and whoever is handed it
may change it.

There are no locks: all of it is done in one thread, that of the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakSet

from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import decode_again

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MOST_EVENTS: Final = 2 * TURN_RECORDS
MOST_BYTES: Final = 1 << 19  # of a partition: as many events of 250 bytes
MOST_BYTES_OF_ALL: Final = 64 << 20  # partitions of a process: each has the same part of it
EVENT_BYTES: Final = 256  # measured: what an event takes beside its block


class RecentEvent(NamedTuple):
    """One event that counts: its block, its CID, and the headers that are carried on."""

    offset: int
    block: bytes
    cid: bytes
    carried: Sequence[tuple[str, bytes]]

    def decoded(self) -> dict[str, Any]:
        """Return the event's map, which is the caller's own."""
        return decode_again(self.block)

    def as_journal_event(self) -> JournalEvent:
        """Return the event as it is copied; its map is the caller's own."""
        return JournalEvent(self.offset, self.decoded(), self.block, self.cid, self.carried)

    def size_bytes(self) -> int:
        """Return about what it takes in memory."""
        carried = sum([EVENT_BYTES + len(value) for _, value in self.carried]) if self.carried else 0
        return EVENT_BYTES + len(self.block) + carried


class RecentEvents:
    """Events that count, without a gap: all at and behind an offset, up to where the shard has read."""

    def __init__(self, offset: int) -> None:
        """Begin with none. offset: of the next record that is folded."""
        self._begin = offset
        self.journal = b""  # a part of the CID of the journal's first event, once somebody has looked
        self._events: list[RecentEvent] = []
        self._offsets: list[int] = []
        self._bytes = 0
        _OPEN.add(self)
        for each in _OPEN:  # there is less for each of them now
            each._share()  # noqa: SLF001 - another of these

    def add(self, events: Sequence[RecentEvent]) -> None:
        """Keep events that were folded behind those that are kept, and forget the first of too many."""
        self._events += events
        self._offsets += [event.offset for event in events]
        self._bytes += sum([event.size_bytes() for event in events])
        self._share()

    def since(self, offset: int) -> list[RecentEvent] | None:
        """Return all events from an offset on; None where that is not known any more."""
        return None if offset < self._begin else self._events[bisect_left(self._offsets, offset) :]

    def last_before(self, offset: int) -> RecentEvent | None:
        """Return the last event below an offset; None where that is not kept."""
        at = bisect_left(self._offsets, offset)
        return self._events[at - 1] if at else None

    def close(self) -> None:
        """Forget all; other partitions have the room from now on."""
        _OPEN.discard(self)
        self._keep(0)

    def _share(self) -> None:
        self._keep(min(MOST_BYTES, MOST_BYTES_OF_ALL // max(1, len(_OPEN))))

    def _keep(self, most_bytes: int) -> None:
        kept, surplus = self._events, 0
        while self._bytes > most_bytes or len(kept) - surplus > MOST_EVENTS:
            self._bytes -= kept[surplus].size_bytes()
            surplus += 1
        if surplus:
            self._begin = self._offsets[surplus - 1] + 1
            del kept[:surplus], self._offsets[:surplus]


_OPEN: Final[WeakSet[RecentEvents]] = WeakSet()
