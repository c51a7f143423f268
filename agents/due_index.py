"""What is due by its time, the earliest at hand: of a million entries, one more or less costs what it costs of ten.

Most of what has a time is settled, cancelled or replaced before that comes, and its entry is void from then on. To look
for an entry in a heap takes as long as the heap is; to leave it until its time holds all that a day brought; and to
sweep all at once would hold up everybody else for a second. So from where half of the entries may be void on, some of
them are looked at with each that is added or becomes void.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

# A tuple that begins with its due time. The rest of it orders what is due at the same time.
E = TypeVar("E", bound="tuple[Any, ...]")

VOID: Final = 1_000  # entries that may be void before any is looked at
SWEPT: Final = 4  # that are looked at at once


class DueIndex(Generic[E]):
    """Entries by due time."""

    def __init__(self, holds: Callable[[E], bool]) -> None:
        """Begin with none. holds: returns whether an entry is not void."""
        self._holds = holds
        self._entries: list[E] = []
        self._sweeping: list[E] = []  # a heap as well, which is taken from its end: that leaves it one

    def __len__(self) -> int:
        return len(self._entries) + len(self._sweeping)

    def put(self, entry: E, holding: int) -> None:
        """Add an entry. holding: how many there are that are not void."""
        heappush(self._entries, entry)
        self.sweep(holding)

    def sweep(self, holding: int) -> None:
        """Look at some entries, if many may be void: whenever one has become so."""
        if not self._sweeping and len(self._entries) > 2 * holding + VOID:
            self._entries, self._sweeping = [], self._entries
        for _ in range(min(SWEPT, len(self._sweeping))):
            swept = self._sweeping.pop()
            if self._holds(swept):
                heappush(self._entries, swept)

    def first(self) -> E | None:
        """Return the earliest entry that is not void; None if there is none."""
        heap = self._earliest()
        return heap[0] if heap else None

    def pop(self) -> None:
        """Take out what `first` returns."""
        heappop(self._earliest())

    def _earliest(self) -> list[E]:
        for heap in (self._entries, self._sweeping):
            while heap and not self._holds(heap[0]):
                heappop(heap)
        return min((heap for heap in (self._entries, self._sweeping) if heap), key=lambda heap: heap[0], default=[])
