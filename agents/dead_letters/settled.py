"""Which dead letters are settled, and which offsets a transaction settles: spans, so that many take little memory."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annals.schemas.settlement import Settlement


class Settled:
    """The settlements that there are, in their order: the first that has an offset settled it.

    settlements: how many were taken.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._spans: dict[int, list[tuple[int, int, Settlement]]] = {}
        self._counts: dict[str, int] = {}
        self.settlements = 0

    def add(self, settlement: Settlement) -> None:
        """Take the next one; what is settled already stays as it was settled."""
        spans = self._spans.setdefault(settlement.partition, [])
        for first, last in settlement.spans:
            for begin, end in self._unsettled_in(settlement.partition, first, last):
                spans.insert(bisect_right(spans, begin, key=_first), (begin, end, settlement))
        self.settlements += 1
        request = settlement.request_id
        self._counts[request] = self._counts.get(request, 0) + settlement.count

    def of(self, partition: int, offset: int) -> Settlement | None:
        """Return what settled a dead letter; None: it is open."""
        spans = self._spans.get(partition, [])
        at = bisect_right(spans, offset, key=_first) - 1
        return spans[at][2] if at >= 0 and offset <= spans[at][1] else None

    def count_of(self, request_id: str) -> int:
        """Return how many a request settled."""
        return self._counts.get(request_id, 0)

    def _unsettled_in(self, partition: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return the spans of offsets from first to last that no earlier settlement has."""
        spans = self._spans.get(partition, [])
        parts, begin = [], first
        for at in range(max(0, bisect_right(spans, first, key=_first) - 1), len(spans)):
            known_first, known_last, _ = spans[at]
            if known_first > last:
                break
            if known_last < begin:
                continue
            if known_first > begin:
                parts.append((begin, known_first - 1))
            begin = known_last + 1
        if begin <= last:
            parts.append((begin, last))
        return parts


class Spans:
    """Offsets of one partition, taken in order, as spans: a letter between two of them that is not taken parts them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        self.spans: list[tuple[int, int]] = []
        self._is_parted = True

    def take(self, offset: int) -> None:
        """Take the next offset."""
        if self._is_parted:
            self.spans.append((offset, offset))
        else:
            self.spans[-1] = (self.spans[-1][0], offset)
        self._is_parted = False
        self.count += 1

    def part(self) -> None:
        """Say that a letter is passed over."""
        self._is_parted = True


def _first(span: tuple[int, int, Settlement]) -> int:
    return span[0]
