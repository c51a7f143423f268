"""A projection folded again from the journal alone, in memory: what its rows must be, and how others differ."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from annals.agents.reading.projecting import LISTED, ProjectionFollower, row_space, texts_of
from annals.agents.reading.turns import turns
from annals.schemas.journal_reader import Counted, Gap, GapError, RememberingReader
from annals.topics.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import JournalRecord
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.found import FoundRow
    from annals.agents.reading.gathered_rows import RowSource
    from annals.agents.reading.ports import Journals

    Where = tuple[str, int]  # kind, partition

PAGE: Final = 500
MOST_DIFFERENCES: Final = 100


class Difference(Struct, frozen=True):
    """A row that is not as the journal has it; None: there is none."""

    key: list[str]
    stored: dict[str, Any] | None
    folded: dict[str, Any] | None


class Verified(Struct, frozen=True):
    """What a comparison found. unanswered: partitions that did not answer, and why; they were not compared."""

    projection: str
    version: int
    events: int
    rows: int
    differences: list[Difference]
    unanswered: list[str]

    @property
    def is_equal(self) -> bool:
        """Whether all rows were compared, and none differs."""
        return not self.differences and not self.unanswered


class RowsInMemory:
    """The rows of one projection, by key; its index entries are left out (the `Rows` port, for folds)."""

    def __init__(self, space: bytes) -> None:
        """Begin empty. space: the prefix of rows."""
        self._space = space
        self._values: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        return self._values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        return [self._values.get(key) for key in keys]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` (inclusive) to `last` (exclusive) by key."""
        keys = sorted((key for key in self._values if first <= key < last), reverse=reverse)
        return ((key, self._values[key]) for key in keys)

    def put(self, key: bytes, value: bytes) -> None:
        """Set a row."""
        if key.startswith(self._space):
            if key not in self._values:
                self._sorted = None
            self._values[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a row, if it is there."""
        if self._values.pop(key, None) is not None:
            self._sorted = None

    def listed(self, after: bytes | None = None, until: bytes | None = None) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yield the rows that are shown behind a key and up to another one, by key without the prefix."""
        if self._sorted is None:
            self._sorted = sorted(self._values)
        cut = len(self._space)
        start = 0 if after is None else bisect_right(self._sorted, self._space + after)
        end = len(self._sorted) if until is None else bisect_right(self._sorted, self._space + until)
        for key in self._sorted[start:end]:
            value = self._values[key]
            if value[:1] == LISTED:
                yield key[cut:], msgspec.msgpack.decode(memoryview(value)[1:])


class Refold:
    """Folds partitions of the journal into one projection's rows in memory, by the reader's rule."""

    def __init__(
        self, projection: Projection[Any], deciders: Mapping[str, Decider[Any]], partitions: Mapping[str, int]
    ) -> None:
        """Begin at the start of all partitions. partitions: kind -> how many there are."""
        self._follower = ProjectionFollower(projection, deciders)
        self._readers = {
            (kind, at): RememberingReader(kind, keys_of(at, partitions[kind]))
            for kind in projection.wanted
            for at in range(partitions[kind])
        }
        self.rows: Final = RowsInMemory(row_space(projection.name, projection.version))
        self.positions: dict[Where, int] = dict.fromkeys(self._readers, 0)
        self.events = 0

    def apply(self, where: Where, records: Sequence[JournalRecord], recorded_until: str | None = None) -> None:
        """Fold records of a partition, in its order. recorded_until: events that were recorded later are left out.

        Raises:
            GapError: events are missing.
        """
        counted = []
        for record in records:
            found = self._readers[where].read(*record)
            if type(found) is Gap:
                raise GapError(found.describe(f"{where[0]}, partition {where[1]}, offset {record.offset}"))
            if type(found) is Counted and (recorded_until is None or found.event["recorded_at"] <= recorded_until):
                counted.append(found)
        self._follower.fold(counted, where[1], self.rows)
        self.events += len(counted)

    async def read_to(self, journals: Journals, where: Where, end: int, recorded_until: str | None = None) -> None:
        """Fold a partition up to an offset."""
        start = self.positions[where]
        if start < end:
            async for records in journals.records(where, start, end):
                for turn in turns(records):
                    self.apply(where, turn, recorded_until)
                    await asyncio.sleep(0)
            self.positions[where] = end

    async def read_all(self, journals: Journals, recorded_until: str | None = None) -> None:
        """Fold all partitions up to where they end now."""
        for where, (_, end) in (await journals.bounds()).items():
            if where in self.positions:
                await self.read_to(journals, where, end, recorded_until)


class MovedBackError(Exception):
    """Rows rest on an earlier position than those before: another worker answers. The comparison begins anew."""


async def verify(
    projection: Projection[Any],
    deciders: Mapping[str, Decider[Any]],
    partitions: Mapping[str, int],
    journals: Journals,
    source: RowSource,
) -> Verified:
    """Compare all rows that are shown, page by page, with those that a fold of the journal has at their positions.

    Raises:
        GapError: events are missing.
        MovedBackError: the rows' positions went back.
    """
    refold = Refold(projection, deciders, partitions)
    differences: list[Difference] = []
    unanswered: dict[Where, str] = {}
    after, rows = None, 0
    while True:
        page = await source.rows(projection, projection.version, {}, after, PAGE)
        unanswered |= {(each.kind, each.partition): each.reason for each in page.missing}
        for kind, offsets in page.positions.items():
            for at, offset in enumerate(offsets):
                if offset is not None and offset < refold.positions[kind, at]:
                    raise MovedBackError(f"{kind}-{at} answers at offset {offset}, and did at a later one before")
                await refold.read_to(journals, (kind, at), offset or 0)
        rows += len(page.rows)
        last = None if page.is_end else page.rows[-1].key
        if not unanswered:
            differences += _differing(page.rows, dict(refold.rows.listed(after, last)))
        if last is None or len(differences) > MOST_DIFFERENCES:
            names = [f"{kind}-{at}: {reason}" for (kind, at), reason in sorted(unanswered.items())]
            found = differences[:MOST_DIFFERENCES]
            return Verified(projection.name, projection.version, refold.events, rows, found, names)
        after = last


def _differing(stored: Sequence[FoundRow], folded: Mapping[bytes, dict[str, Any]]) -> list[Difference]:
    kept = {row.key: row.row for row in stored}
    keys = sorted(key for key in kept.keys() | folded.keys() if kept.get(key) != folded.get(key))
    return [Difference(list(texts_of(key)), kept.get(key), folded.get(key)) for key in keys]
