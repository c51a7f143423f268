"""Which rows of a projection's version answer, which are built beside them, and which are going.

To rebuild is to build another set of rows beside those that answer, in the same store and below a prefix of its own:

    begun        its positions, 0 in all partitions, in one write batch
    built        rows and position of a partition in one write batch, as for every follower
    turned to    when it has nowhere less than the rows that answer: in one write batch it is named as the set that
                 answers, the positions of the former set go, and that is marked
    swept        a marked set's rows go in slices; the mark goes last

A process that is killed between any two write batches finds one set whole, and goes on with the next step. A marked set
never answers, whatever positions another release has written for it.

Keys below `B`: name and version -> the number of the set that answers (8; without the key: 0). Name, version and
number: the mark of a set whose rows are going.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.reading.keeping.layout import after, encode_follower, follower_key, number, read_follower
from annals.agents.reading.projecting.rows import RowSet, key_of, row_set_of, texts_of
from annals.agents.reading.projecting.versions import nowhere_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annals.agents.projections.projection import Projection
    from annals.agents.reading.keeping.layout import FollowerPosition
    from annals.agents.reading.ports import ReadingStore, ReadView
    from annals.agents.reading.projecting.rows import ProjectionFollower

SETS: Final = b"B\0\0"
SWEPT_ROWS: Final = 1_000  # at once: a few milliseconds
FIRST: Final = 0
MARK_TEXTS: Final = 3  # in the key of a mark


def answering_key(name: str, version: int) -> bytes:
    """Return where the number of the set that answers is."""
    return SETS + key_of(name, str(version))


def mark_key(rows: RowSet) -> bytes:
    """Return where a set whose rows are going is marked."""
    return SETS + key_of(rows.name, str(rows.version), str(rows.number))


def answering(view: ReadView, name: str, version: int) -> RowSet:
    """Return the set of rows that answers for a version, if any does."""
    value = view.get(answering_key(name, version))
    return RowSet(name, version, FIRST if value is None else int.from_bytes(value, "big"))


def read_answering(view: ReadView, name: str, version: int) -> tuple[RowSet, FollowerPosition] | None:
    """Return the set of rows that answers for a version, and its position; None if there is none here."""
    rows = answering(view, name, version)
    known = read_follower(view, rows.follower)
    return None if known is None or view.get(mark_key(rows)) is not None else (rows, known)


def read_beside(view: ReadView, rows: RowSet) -> tuple[RowSet, FollowerPosition] | None:
    """Return the set that is built beside the one that answers, and its position."""
    for beside in _sets_with_positions(view, rows.name, rows.version):
        known = read_follower(view, beside.follower)
        if beside != rows and known is not None and view.get(mark_key(beside)) is None:
            return beside, known
    return None


class _Pair(NamedTuple):
    """A set that answers, the one that is built beside it, and the prefixes of the positions of both."""

    answering: RowSet
    beside: RowSet
    spaces: Sequence[bytes]


class Builds:
    """The sets of rows of all versions in one store: the only one that begins, turns to and removes any.

    A store of one partition has its positions at their keys; that of global projections has them below a prefix for
    each partition, and a set is begun and turned to on all of them at once.
    """

    def __init__(self, store: ReadingStore, spaces: Mapping[str, Sequence[bytes]] | None = None) -> None:
        """Take the whole store. spaces: kind -> prefixes of its partitions; None: a store of one partition."""
        self._store = store
        self._spaces = spaces
        self._every = [b""] if spaces is None else [space for each in spaces.values() for space in each]
        self._begun_unasked: set[str] = set()
        self._pairs: dict[str, _Pair] = {}
        self._marked: dict[RowSet, bytes] = dict.fromkeys(self._all_marked(), b"")

    def admit(self, follower: ProjectionFollower[Any]) -> list[ProjectionFollower[Any]]:
        """Return who folds a version: of the set that answers, and of the one beside it, where one is built.

        The first set of a version is begun at once. One is built beside when more or other rebuilds are asked for than
        the rows that answer have seen; one that is built for another number is given up. Called again for the next
        partition of the same store, it finds what it did.
        """
        projection, wanted = follower.projection, follower.rebuilds
        spaces = self._spaces_of(projection)
        rows = answering(self._store, projection.name, projection.version)
        seen = self._rebuilds(rows, spaces)
        if seen is None:
            rows = self._begin(projection, spaces, wanted)
            return [follower.of_set(rows.number, wanted or 0)]
        if rows.title in self._begun_unasked and wanted is not None:
            # Begun in this process before it knew of any rebuild: nothing older than the process is in these rows.
            self._begun_unasked.discard(rows.title)
            if seen != wanted:
                self._renumber(rows, spaces, wanted)
                seen = wanted
        beside, built_for = None, seen
        for each in self._beside(rows):
            asked = self._rebuilds(each, spaces)
            if beside is None and asked not in {None, seen} and wanted in {None, asked}:
                beside, built_for = each, int(asked or 0)
            else:
                self._apply_removal([each], {})
        if beside is None and wanted not in {None, seen}:
            beside, built_for = self._begin_beside(rows, spaces, int(wanted or 0)), int(wanted or 0)
        self._pairs.pop(rows.title, None)
        own = follower.of_set(rows.number, seen)
        if beside is None:
            return [own]
        self._pairs[rows.title] = _Pair(rows, beside, spaces)
        return [own, follower.of_set(beside.number, built_for)]

    def turn(self) -> bool:
        """Turn to the sets that have nowhere less than those that answer; whether there were any.

        Those who fold must ask anew whom they are to fold (`admit`) before they fold another event.
        """
        due = [pair for pair in self._pairs.values() if self._has_reached(pair)]
        for former, beside, _ in due:
            named = {answering_key(beside.name, beside.version): number(beside.number)}
            self._apply_removal([former], named)
            del self._pairs[beside.title]
        return bool(due)

    def drop(self, name: str, version: int) -> None:
        """Have all sets of a version go: none answers any more, and their rows are swept."""
        rows = answering(self._store, name, version)
        self._pairs.pop(rows.title, None)
        self._apply_removal([rows, *self._beside(rows)], {answering_key(name, version): None})

    def sweep(self) -> bool:
        """Remove a slice of the rows that are going; whether there were any."""
        for rows, start in self._marked.items():
            found = self._rows_from(rows, start)
            if found:
                self._store.apply(dict.fromkeys(found))
                self._marked[rows] = found[-1]
            else:
                # A release that does not know of sets may have begun positions of the first one meanwhile.
                self._store.apply({**self._no_positions(rows), mark_key(rows): None})
                del self._marked[rows]
            return True
        return False

    def _begin(self, projection: Projection[Any], spaces: Sequence[bytes], wanted: int | None) -> RowSet:
        """Begin the set that answers, with no rows. What there is of others goes."""
        name, version = projection.name, projection.version
        former = answering(self._store, name, version)
        left = [each for each in (former, *self._beside(former)) if self._has_anything(each)]
        rows = RowSet(name, version, self._next_number(name, version, left))
        changes: dict[bytes, bytes | None] = {
            answering_key(name, version): number(rows.number) if rows.number else None
        }
        self._apply_removal(left, changes | self._positions(rows, spaces, wanted or 0))
        if wanted is None:
            self._begun_unasked.add(rows.title)
        return rows

    def _begin_beside(self, rows: RowSet, spaces: Sequence[bytes], wanted: int) -> RowSet:
        beside = rows._replace(number=self._next_number(rows.name, rows.version, [rows]))
        self._store.apply(self._positions(beside, spaces, wanted))
        return beside

    def _renumber(self, rows: RowSet, spaces: Sequence[bytes], wanted: int) -> None:
        known = {space: read_follower(self._store, rows.follower, space) for space in spaces}
        self._store.apply(
            {
                follower_key(rows.follower, space): encode_follower(wanted, position.offset)
                for space, position in known.items()
                if position is not None
            }
        )

    def _apply_removal(self, gone: Iterable[RowSet], changes: Mapping[bytes, bytes | None]) -> None:
        """Mark sets and remove their positions, in one write batch with what takes their place."""
        gone = list(gone)
        removal: dict[bytes, bytes | None] = {}
        for rows in gone:
            removal |= {**self._no_positions(rows), mark_key(rows): b""}
        self._store.apply({**removal, **changes})
        self._marked |= dict.fromkeys(gone, b"")

    def _positions(self, rows: RowSet, spaces: Sequence[bytes], rebuilds: int) -> dict[bytes, bytes | None]:
        return {follower_key(rows.follower, space): encode_follower(rebuilds, 0) for space in spaces}

    def _no_positions(self, rows: RowSet) -> dict[bytes, bytes | None]:
        return {follower_key(rows.follower, space): None for space in self._every}

    def _rebuilds(self, rows: RowSet, spaces: Sequence[bytes]) -> int | None:
        """Return how many rebuilds a set has seen; None if it is not there on all partitions."""
        known = [read_follower(self._store, rows.follower, space) for space in spaces]
        if rows in self._marked or None in known:
            return None
        seen = {each.version for each in known if each is not None}
        return seen.pop() if len(seen) == 1 else None

    def _has_reached(self, pair: _Pair) -> bool:
        return nowhere_behind(
            (self._offset(pair.answering, space), self._offset(pair.beside, space)) for space in pair.spaces
        )

    def _offset(self, rows: RowSet, space: bytes) -> int | None:
        known = read_follower(self._store, rows.follower, space)
        return None if known is None else known.offset

    def _beside(self, rows: RowSet) -> list[RowSet]:
        """Return all sets of a version that have a position anywhere, but one."""
        found = chain.from_iterable(
            _sets_with_positions(self._store, rows.name, rows.version, space) for space in self._every
        )
        return [each for each in dict.fromkeys(found) if each != rows and each not in self._marked]

    def _has_anything(self, rows: RowSet) -> bool:
        has_position = any(read_follower(self._store, rows.follower, space) is not None for space in self._every)
        return has_position or bool(self._rows_from(rows, b"", 1))

    def _next_number(self, name: str, version: int, others: Iterable[RowSet]) -> int:
        """Return a number that no set of the version has, not even one that is going."""
        known = {each.number for each in (*others, *self._marked) if (each.name, each.version) == (name, version)}
        return max(known, default=FIRST - 1) + 1

    def _rows_from(self, rows: RowSet, start: bytes, limit: int = SWEPT_ROWS) -> list[bytes]:
        """Return the first keys of a set behind one: to begin anew would pass by all that were removed."""
        found = (
            self._store.range(max(space, start), after(space)) for space in sorted(rows.spaces) if start < after(space)
        )
        return [key for key, _ in islice(chain.from_iterable(found), limit)]

    def _all_marked(self) -> list[RowSet]:
        found = [texts_of(key[len(SETS) :]) for key, _ in self._store.range(SETS, after(SETS))]
        return [RowSet(each[0], int(each[1]), int(each[2])) for each in found if len(each) == MARK_TEXTS]

    def _spaces_of(self, projection: Projection[Any]) -> list[bytes]:
        if self._spaces is None:
            return [b""]
        return [space for kind in projection.places for space in self._spaces.get(kind, ())]


def _sets_with_positions(view: ReadView, name: str, version: int, space: bytes = b"") -> list[RowSet]:
    """Return the sets of a version behind the first one that have a position."""
    prefix = follower_key(f"{name}/{version}.", space)
    cut = len(follower_key("", space))
    found = [row_set_of(key[cut:].decode()) for key, _ in view.range(prefix, after(prefix))]
    return [each for each in found if each is not None]
