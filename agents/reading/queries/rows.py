"""Rows of projections by their indexes, from a view of one store.

What is asked is told by the newest version that this release has; the rows may be of any version that the store has.
"""

from __future__ import annotations

from heapq import merge
from itertools import chain, groupby, islice, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from annals.agents.defects import is_ctrl_c
from annals.agents.ports import StoreDamagedError
from annals.agents.reading.found import (
    FoundRow,
    Rebuilds,
    RowPage,
    ShardPosition,
)
from annals.agents.reading.keeping.blocks import count_behind
from annals.agents.reading.keeping.layout import after as behind_all
from annals.agents.reading.keeping.layout import follower_key, read_position
from annals.agents.reading.ports import VersionMissingError
from annals.agents.reading.projecting.builds import read_answering, read_beside
from annals.agents.reading.projecting.rows import END, LISTED, aggregates_name, key_of
from annals.agents.reading.queries.events import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.projections.projection import Projection
    from annals.agents.reading.keeping.layout import FollowerPosition
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.projecting.rows import RowSet
    from annals.agents.reading.queries.events import Place

    Placed = tuple[bytes, bytes]  # where a row is in the order of an answer, and its key

FIRST_ROWS: Final = 16
ROWS_AT_ONCE: Final = 256
WALKED_AGAIN: Final = 1_000  # rows of a tree: so many are found again for each page
LOOKED_AT: Final = 10_000  # for one page: a fraction of the seconds that a partition has to answer
DEEPEST: Final = 10_000  # rows that are between one and the root of its tree: a fraction of a second, too


class Term(NamedTuple):
    """An index and a value under which rows must be found; is_range: under any value below that one."""

    name: str
    value: str
    is_range: bool = False


class Slice(NamedTuple):
    """Places that follow one another: how many, the last one, and the rows among them, with their bytes."""

    places: int
    last: bytes
    rows: Iterator[tuple[FoundRow, int]]


class RowReader:
    """Answers with rows of projections (what `Shard` takes as `ask_rows`)."""

    def __init__(self, projections: Mapping[str, Projection[Any]], *, is_global: bool = False) -> None:
        """Take the newest version of each projection, and whether the store is that of a global one."""
        self._projections = projections
        self._scope = "global" if is_global else "local"

    def __call__(
        self,
        view: ReadView,
        place: Place,
        name: str,
        version: int,
        indexes: Sequence[Mapping[str, str]],
        behind: bytes | None,
        limit: int,
    ) -> RowPage:
        """Return a page of rows that any of some indexes finds (all parameters of one must hold).

        Where rows are large it has fewer, and ends behind the one that fills it. Where few of those that are looked at
        are shown it ends behind LOOKED_AT of them, perhaps without any row.

        Raises:
            VersionMissingError: no rows of this version were ever folded here.
            ValueError: the projection has no such index.
        """
        projection = self._projections.get(name)
        known = read_answering(view, name, version)
        if projection is None or projection.scope != self._scope or known is None:
            raise VersionMissingError(f"version {version} of {name!r} is not in {place.kind}-{place.partition}")
        answering, followed = known
        wanted = [wanted_of(projection, index) for index in indexes]
        rows, is_end, looked_until = _page(_slices(view, answering, wanted, behind), limit)
        first = wanted[0][0] if wanted[0] else None
        ordered_by = first.name if first is not None and first.is_range else None
        position = ShardPosition(place.kind, place.partition, followed.offset)
        read_until, stale = read_position(view).offset, None
        if followed.offset < read_until:
            stale = f"{name} version {version} is at offset {followed.offset} of {read_until}"
        rebuilds = _rebuilds(view, answering, followed)
        return RowPage(rows, is_end, position, stale, rebuilds, ordered_by, looked_until, len(indexes))


def _rebuilds(view: ReadView, answering: RowSet, position: FollowerPosition) -> Rebuilds:
    beside = read_beside(view, answering)
    aggregates = view.get(follower_key(aggregates_name(answering.title)))
    return Rebuilds(
        position.version,
        int.from_bytes(aggregates or b"", "big"),
        *(() if beside is None else (beside[0].follower, *beside[1])),
    )


def find_tree(
    view: ReadView,
    place: Place,
    projection: Projection[Any],
    version: int,
    parent: str,
    root: str,
    behind: bytes | None,
    limit: int,
) -> tuple[list[FoundRow], bool, bytes | None]:
    """Return a page of the rows below one, at any depth, whether it is the last, and up to where there is no other.

    parent: the index whose values are ids of rows, and the column that has them. A ring is walked once. The way leads
    down from the root; where very many rows are below it, up from each row that is next in the order of an answer. Of
    those it may leave out what is more than DEEPEST below the root.

    Raises:
        VersionMissingError: no rows of this version were ever folded here.
    """
    known = read_answering(view, projection.name, version)
    if known is None:
        raise VersionMissingError(f"version {version} of {projection.name!r} is not in {place.kind}-{place.partition}")
    most = min(limit, LOOKED_AT) if behind is None else 0
    found = _all_below(view, known[0], parent, root, max(most, WALKED_AGAIN))
    if found is None:
        way = _WayUp(view, known[0], parent, root)
        shown, is_end, looked_until = _page(_slices(view, known[0], [[]], behind), limit, way)
        return shown, is_end, None if is_end else looked_until or shown[-1].key
    rows = [found[key] for key in sorted(found) if behind is None or key > behind]
    return rows[:limit], len(rows) <= limit, None if len(rows) <= limit else rows[limit - 1].key


def _all_below(view: ReadView, rows: RowSet, parent: str, root: str, most: int) -> dict[bytes, FoundRow] | None:
    """Return the rows below one by key; None where there are more than `most`."""
    found: dict[bytes, FoundRow] = {}
    waiting = [root]
    while waiting:
        under = [[Term(parent, waiting.pop())]]
        for row, _ in chain.from_iterable(each.rows for each in _slices(view, rows, under, None)):
            if row.key not in found and row.row["aggregate_id"] != root:
                found[row.key] = row
                waiting.append(row.row["aggregate_id"])
            if len(found) > most:
                return None
    return found


class _WayUp:
    """Tells of rows whether they are below one, by their parents. steps: how many of these were read."""

    def __init__(self, view: ReadView, rows: RowSet, parent: str, root: str) -> None:
        self._view = view
        self._rows = rows
        self._parent = parent
        self._root = root
        self._known = {root: True}  # of each id: whether what has it as its parent is below the root
        self.steps = 0

    def is_below(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is below the root."""
        passed: dict[str, None] = {}
        above = row[self._parent]
        while above is not None and above not in self._known and above not in passed:
            if len(passed) == DEEPEST:
                return False  # it is too deep; those that were passed may not be
            passed[above] = None
            above = self._above(above)
        is_below = self._known.get(above, False)  # no row, no parent or a ring
        self._known |= dict.fromkeys(passed, is_below)
        return is_below and row["aggregate_id"] != self._root

    def _above(self, at: str) -> str | None:
        self.steps += 1
        value = self._view.get(self._rows.rows + key_of(at))
        return None if value is None else msgspec.msgpack.decode(memoryview(value)[1:])[self._parent]


def wanted_of(projection: Projection[Any], index: Mapping[str, str]) -> list[Term]:
    """Return the index values that all must hold. A range comes first: rows are in the order of its values."""
    wanted = []
    for name, value in index.items():
        values = _values(projection, name, value)
        if name in projection.ranges:
            values = sorted(values)[:1]  # what is below all of them is below the least one
        wanted += [Term(name, each, name in projection.ranges) for each in values]
    return sorted(wanted, key=lambda each: not each.is_range)


def _values(projection: Projection[Any], name: str, value: str) -> Sequence[str]:
    """Return the values of an index that a text means; a ValueError says that it means none."""
    if name not in projection.values:
        return [value]
    try:
        return projection.values[name](value)
    except BaseException as error:  # it is the projection's own code, and would end the process with one question
        if isinstance(error, Exception) or is_ctrl_c(error):
            raise
        raise RuntimeError(f"{projection.name}: its values of {name} failed with {type(error).__name__}") from error


def _page(slices: Iterator[Slice], limit: int, way: _WayUp | None = None) -> tuple[list[FoundRow], bool, bytes | None]:
    """Return rows, whether there are no more, and behind which place they end, where that is not the last of them.

    way: those of a tree alone are wanted, and steps up it count as places do.
    """
    rows: list[FoundRow] = []
    left, looked_at = PAGE_BYTES, 0
    for each in slices:
        for row, size in each.rows:
            if way is None or way.is_below(row.row):
                if len(rows) == limit or left <= 0:
                    return rows, False, None
                rows.append(row)
                left -= size
            if way is not None and way.steps >= LOOKED_AT:
                return rows, False, row.key
        looked_at += each.places
        if looked_at >= LOOKED_AT:
            return rows, False, each.last
    return rows, True, None


def _slices(view: ReadView, rows: RowSet, wanted: Sequence[Sequence[Term]], behind: bytes | None) -> Iterator[Slice]:
    """Yield rows by slices of the places under the first term of any of the lists; all terms of a list must hold."""
    found_by = (_places(view, rows, terms[0] if terms else None, behind) for terms in wanted)
    # a place that several lists find is one place, and in one slice
    places = groupby(merge(*(zip(each, repeat(at)) for at, each in enumerate(found_by))), itemgetter(0))
    space, count = rows.rows, FIRST_ROWS
    while some := [(placed, {at for _, at in by}) for placed, by in islice(places, count)]:
        kept: set[Placed] = set()
        for at, terms in enumerate(wanted):
            found = [placed for placed, by in some if at in by and placed not in kept]
            for one in terms[1:]:
                found = _those_under(view, rows, one, found)
            kept.update(found)
        listed = sorted(kept)
        values = view.get_many([space + key for _, key in listed])
        count = count_behind(count, values, ROWS_AT_ONCE)
        yield Slice(len(some), some[-1][0][0], _listed(rows, listed, values))


def _listed(rows: RowSet, places: Sequence[Placed], values: Sequence[bytes | None]) -> Iterator[tuple[FoundRow, int]]:
    for (place, _), value in zip(places, values, strict=True):
        if value is None:
            raise StoreDamagedError(f"{rows.name} version {rows.version}: an index entry leads to no row")
        if value[:1] == LISTED:
            yield FoundRow(place, msgspec.msgpack.decode(memoryview(value)[1:])), len(value)


def _places(view: ReadView, rows: RowSet, wanted: Term | None, behind: bytes | None) -> Iterator[Placed]:
    """Yield where rows are in the order of an answer, behind one, and their keys.

    That order is that of keys; where a range is wanted, that of its values and then of keys: so a page reads no more of
    the range than it shows.
    """
    if wanted is not None and wanted.is_range:
        space = rows.entries(wanted.name)
        end = space + key_of(wanted.value)
    else:
        space = rows.rows if wanted is None else rows.entries(wanted.name, wanted.value)
        end = behind_all(space)
    start = space if behind is None else space + behind + b"\0"
    is_range, cut = wanted is not None and wanted.is_range, len(space)
    for entry, _ in view.range(start, end):
        place = entry[cut:]
        yield place, place.split(END, 1)[1] if is_range else place


def _those_under(view: ReadView, rows: RowSet, wanted: Term, places: Sequence[Placed]) -> list[Placed]:
    space = rows.entries(wanted.name, wanted.value)
    entries = view.get_many([space + key for _, key in places])
    return [place for place, entry in zip(places, entries, strict=True) if entry is not None]
