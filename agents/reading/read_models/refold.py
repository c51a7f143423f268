"""A projection folded again from the journal alone, in a store of its own: what its rows must be, how others differ.

Nothing grows in memory with the rows: both sides are read in the order of their keys, a page and a batch at a time.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from annals.agents.folding.turns import turns
from annals.agents.reading.following.guarded import fold_guarded
from annals.agents.reading.keeping.layout import AGGREGATES, CID, NUMBER, VOIDS, after, number
from annals.agents.reading.projecting.rows import INDEXES, LISTED, ProjectionFollower, texts_of
from annals.agents.reading.read_models.global_fold import prefix_of
from annals.agents.reading.streams.rekeyed import events_of
from annals.schemas.journal_reader import START, Counted, Gap, GapError, JournalReader, KeptEnd, Void
from annals.topics.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import JournalRecord
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.gathering.rows import RowSource
    from annals.agents.reading.ports import Journals, Key, ReadingStore

    KeyedRow = tuple[bytes, dict[str, Any]]
    Report = Callable[[dict[str, Any]], None]

PAGE: Final = 500
MOST_DIFFERENCES: Final = 100
MOST_DIFFERENCE_BYTES: Final = 131_072  # of all together: they are the result of a job, which is one record


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


class _Part:
    """What the reader's rule needs to know of one partition: the ends of chains and the void events, in the store."""

    def __init__(self, store: ReadingStore, where: Key, partitions: int) -> None:
        self._store = store
        self._where = where
        self._space = prefix_of(*where)
        self._ends: dict[bytes, KeptEnd] = {}
        self._voids: set[bytes] = set()
        self.reader = JournalReader(where[0], keys_of(where[1], partitions), self._ends.__getitem__, self._is_void)

    def counted(self, records: Sequence[JournalRecord]) -> Iterator[Counted[KeptEnd]]:
        """Yield the records that count.

        Raises:
            GapError: events are missing.
        """
        self._look_up(records)
        for record in records:
            found = self.reader.read(*record)
            if type(found) is Gap:
                kind, partition = self._where
                raise GapError(found.describe(f"{kind}, partition {partition}, offset {record.offset}"))
            if type(found) is Counted:
                self._note(found)
                yield found
            elif type(found) is Void:
                self._note(found)

    def _look_up(self, records: Sequence[JournalRecord]) -> None:
        """Read where the chains of records end, at once."""
        self._voids.clear()
        self._ends.clear()
        keys = list({record.key for record in records if record.key is not None})
        values = self._store.get_many([self._space + AGGREGATES + key for key in keys])
        self._ends |= {key: _end(value) for key, value in zip(keys, values, strict=True)}

    def _note(self, found: Counted[KeptEnd] | Void[KeptEnd]) -> None:
        """Take what a record is."""
        if isinstance(found, Void):
            self._voids.add(found.cid)
        else:
            self._ends[found.key] = KeptEnd(found.event["version"], found.cid)

    def changes(self) -> dict[bytes, bytes | None]:
        """Return what to keep of the records."""
        ends = {
            self._space + AGGREGATES + key: number(end.version) + end.head
            for key, end in self._ends.items()
            if end.head is not None
        }
        return {**ends, **{self._space + VOIDS + cid: b"" for cid in self._voids}}

    def _is_void(self, cid: bytes | None) -> bool:
        return cid is not None and (cid in self._voids or self._store.get(self._space + VOIDS + cid) is not None)


class _StreamPart:
    """What is known of one partition of a re-keyed stream: what is in it was judged by who copied it."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def counted(self, records: Sequence[JournalRecord]) -> Iterator[Counted[KeptEnd]]:
        """Yield the events of records."""
        for found in events_of(self._kind, records):
            yield Counted(found.offset, found.event["aggregate_id"].encode(), found.event, found.cid, START)

    def changes(self) -> dict[bytes, bytes | None]:
        """Keep nothing of them."""
        return {}


def _end(value: bytes | None) -> KeptEnd:
    return START if value is None else KeptEnd(int.from_bytes(value[:NUMBER], "big"), value[NUMBER : NUMBER + CID])


class Refold:
    """Folds partitions of the journal into one projection's rows, by the reader's rule.

    positions: up to where each partition was read; events: how many counted.
    """

    def __init__(
        self,
        projection: Projection[Any],
        deciders: Mapping[str, Decider[Any]],
        partitions: Mapping[str, int],
        store: ReadingStore,
        *,
        is_indexed: bool = False,
    ) -> None:
        """Begin at the start of all partitions.

        partitions: kind, or `rekeyed.<name>`, -> how many there are; store: an empty one, for this fold alone;
        is_indexed: whether rows are to be found by their indexes.
        """
        self._follower = ProjectionFollower(projection, deciders)
        self._store = store
        self._is_indexed = is_indexed
        stream = projection.stream
        self._parts: dict[Key, _Part | _StreamPart] = {
            (place, at): _Part(store, (place, at), partitions[place]) if stream is None else _StreamPart(stream.kind)
            for place in projection.places
            for at in range(partitions[place])
        }
        self.positions: dict[Key, int] = dict.fromkeys(self._parts, 0)
        self.events = 0

    def apply(self, where: Key, records: Sequence[JournalRecord], recorded_until: str | None = None) -> None:
        """Fold records of a partition, in its order. recorded_until: events that were recorded later are left out.

        Raises:
            GapError: events are missing.
            FoldFailedError: the projection cannot fold an event.
        """
        for turn in turns(records):
            self._apply(where, turn, recorded_until)

    async def read_to(self, journals: Journals, where: Key, end: int, recorded_until: str | None = None) -> None:
        """Fold a partition up to an offset."""
        start = self.positions[where]
        if start < end:
            async for records in journals.records(where, start, end):
                for turn in turns(records):
                    self._apply(where, turn, recorded_until)
                    await asyncio.sleep(0)
            self.positions[where] = end

    async def read_all(self, journals: Journals, recorded_until: str | None = None) -> None:
        """Fold all partitions up to where they end now."""
        for where, (_, end) in (await journals.bounds()).items():
            if where in self.positions:
                await self.read_to(journals, where, end, recorded_until)

    def listed(self, behind: bytes | None = None, until: bytes | None = None) -> Iterator[KeyedRow]:
        """Yield the rows that are shown behind a key and up to another one, by key."""
        space = self._follower.set.rows
        first = space if behind is None else space + behind + b"\0"
        last = after(space) if until is None else space + until + b"\0"
        for key, value in self._store.range(first, last):
            if value[:1] == LISTED:
                yield key[len(space) :], msgspec.msgpack.decode(memoryview(value)[1:])

    def aggregates_under(self, index: str, value: str) -> Iterator[str]:
        """Yield the ids of the aggregates of all rows that are shown under a value of an index."""
        space, rows = self._follower.set.entries(index, value), self._follower.set.rows
        for key, _ in self._store.range(space, after(space)):
            found = self._store.get(rows + key[len(space) :])
            if found is not None and found[:1] == LISTED:
                yield msgspec.msgpack.decode(memoryview(found)[1:])["aggregate_id"]

    def _apply(self, where: Key, records: Sequence[JournalRecord], recorded_until: str | None) -> None:
        part = self._parts[where]
        counted = [
            found
            for found in part.counted(records)
            if recorded_until is None or found.event["recorded_at"] <= recorded_until
        ]
        rows, failure = fold_guarded(self._follower, counted, where[1], self._store)
        if failure is not None:
            raise FoldFailedError(failure.reason)
        kept = {key: each for key, each in rows.changes.items() if self._is_indexed or not key.startswith(INDEXES)}
        self._store.apply({**part.changes(), **kept})
        self.events += len(counted)


class FoldFailedError(Exception):
    """A projection cannot fold an event. The message names it."""


class MovedBackError(Exception):
    """Rows rest on an earlier position than those before: another worker answers. The comparison begins anew."""


async def verify(
    projection: Projection[Any],
    version: int,
    refold: Refold,
    journals: Journals,
    source: RowSource,
    report: Report = lambda _: None,
) -> Verified:
    """Compare all rows that are shown, page by page, with those that a fold of the journal has at their positions.

    report: takes how far it is, after each page.

    Raises:
        GapError: events are missing.
        FoldFailedError: the projection cannot fold an event.
        MovedBackError: the rows' positions went back.
    """
    differences: list[Difference] = []
    unanswered: dict[Key, str] = {}
    behind, after, rows, room = None, None, 0, MOST_DIFFERENCE_BYTES
    while True:
        page = await source.rows(projection, version, {}, after, PAGE)
        unanswered |= {(each.kind, each.partition): each.reason for each in page.missing}
        for kind, offsets in page.positions.items():
            for at, offset in enumerate(offsets):
                if offset is not None and offset < refold.positions[kind, at]:
                    raise MovedBackError(f"{kind}-{at} answers at offset {offset}, and did at a later one before")
                await refold.read_to(journals, (kind, at), offset or 0)
        rows += len(page.rows)
        last = page.until
        is_full = False
        if not unanswered:
            stored = [(each.key, each.row) for each in page.rows]
            for each in _differing(stored, refold.listed(behind, last)):
                room -= len(msgspec.json.encode(each))
                is_full = len(differences) == MOST_DIFFERENCES or (room < 0 and bool(differences))
                if is_full:
                    break
                differences.append(each)
        report({"rows": rows, "events": refold.events, "differences": len(differences)})
        if last is None or is_full:
            names = [f"{kind}-{at}: {reason}" for (kind, at), reason in sorted(unanswered.items())]
            return Verified(projection.name, version, refold.events, rows, differences, names)
        behind, after = last, page.after


def _differing(stored: Iterable[KeyedRow], folded: Iterable[KeyedRow]) -> Iterator[Difference]:
    """Yield how two streams of rows differ, both in the order of their keys; one row of each is held at a time."""
    end: list[KeyedRow | None] = [None]
    ones, others = chain(stored, end), chain(folded, end)
    one, other = next(ones), next(others)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None  # noqa: S101 - one of the two is there
            yield Difference(list(texts_of(one[0])), one[1], None)
            one = next(ones)
        elif one is None or other[0] < one[0]:
            yield Difference(list(texts_of(other[0])), None, other[1])
            other = next(others)
        else:
            if one[1] != other[1]:
                yield Difference(list(texts_of(one[0])), one[1], other[1])
            one, other = next(ones), next(others)
