"""The fold of global projections: all journal partitions of their kinds into one store, each with its own position.

Each partition is a `ReadingFold` of its own below a prefix of its own; the rows of projections alone are shared, so
that a question can go from a row of one partition to that of another. A batch changes rows and one partition's
positions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.projecting.builds import SETS, Builds
from annals.agents.reading.projecting.rows import INDEXES, ROWS
from annals.agents.reading.projecting.versions import followed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import JournalRecord
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.ports import Key, ReadingStore, ReadView
    from annals.schemas.projection_record import ProjectionRecord

PARTITIONS: Final = b"g"
SHARED: Final = (ROWS, INDEXES, SETS)


def prefix_of(kind: str, partition: int) -> bytes:
    """Return the prefix of everything that a partition has but the rows of projections."""
    return PARTITIONS + kind.encode() + b"\0" + partition.to_bytes(4, "big")


class PartView:
    """A partition's part of a view (the `ReadView` port)."""

    def __init__(self, base: ReadView, prefix: bytes) -> None:
        """Take the whole, and the partition's prefix."""
        self._view = base
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        return self._view.get(self._key(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        return self._view.get_many([self._key(key) for key in keys])

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows of a range that lies below one prefix of a follower."""
        if first.startswith(SHARED):
            return self._view.range(first, last, reverse=reverse)
        cut = len(self._prefix)
        found = self._view.range(self._prefix + first, self._prefix + last, reverse=reverse)
        return ((key[cut:], value) for key, value in found)

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys of a range that lies below one prefix of a follower."""
        if first.startswith(SHARED):
            return self._view.keys(first, last, reverse=reverse)
        cut = len(self._prefix)
        return (key[cut:] for key in self._view.keys(self._prefix + first, self._prefix + last, reverse=reverse))

    def _key(self, key: bytes) -> bytes:
        return key if key.startswith(SHARED) else self._prefix + key


class PartStore(PartView):
    """A partition's part of a store (the `ReadingStore` port)."""

    def __init__(self, store: ReadingStore, prefix: bytes) -> None:
        """Take the whole store, and the partition's prefix."""
        super().__init__(store, prefix)
        self._store = store

    @contextmanager
    def view(self) -> Iterator[ReadView]:
        """Return a view that later batches do not change."""
        with self._store.view() as view:
            yield PartView(view, self._prefix)

    @contextmanager
    def held(self) -> Iterator[ReadView]:
        """Return the rows as a view, to which nothing is written until the context ends."""
        with self._store.held() as view:
            yield PartView(view, self._prefix)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows in one write batch."""
        self._store.apply({self._key(key): value for key, value in changes.items()})

    def size_bytes(self) -> int:
        """Return the bytes of the whole store's files."""
        return self._store.size_bytes()

    def close(self) -> None:
        """The whole is closed by its owner."""


class GlobalFold:
    """Folds partitions into one store. partitions: kind -> how many there are."""

    def __init__(
        self,
        store: ReadingStore,
        projections: Mapping[str, Sequence[Projection[Any]]],
        partitions: Mapping[str, int],
        deciders: Mapping[str, Decider[Any]],
        records: Mapping[str, ProjectionRecord] | None,
        now_ms: int,
    ) -> None:
        """Go on where the store stands. records: None while the topic `projections` was not read."""
        self.store = store
        self._projections = projections
        self._deciders = deciders
        self._builds = Builds(
            store, {kind: [prefix_of(kind, at) for at in range(count)] for kind, count in partitions.items()}
        )
        plans = {kind: followed(kind, projections, records, deciders, (), now_ms, "global") for kind in partitions}
        self.folds = {
            (kind, at): ReadingFold(
                kind,
                at,
                count,
                PartStore(store, prefix_of(kind, at)),
                plans[kind].followers,
                builds=self._builds,
            )
            for kind, count in partitions.items()
            for at in range(count)
        }

    def apply(self, where: Key, records: Sequence[JournalRecord]) -> None:
        """Fold records of a partition (see `ReadingFold.apply`)."""
        self.folds[where].apply(records)

    def catch_up(self, most: int = TURN_RECORDS) -> bool:
        """Do the next of what is left to do (see `ReadingFold.catch_up`); False when nothing is."""
        if self._builds.turn():
            for fold in self.folds.values():
                fold.admit()
            return True
        return any(fold.catch_up(most) for fold in self.folds.values()) or self._builds.sweep()

    def follow(self, records: Mapping[str, ProjectionRecord] | None, now_ms: int) -> None:
        """Have the projections that the records ask for."""
        for (kind, _), fold in self.folds.items():
            known = fold.known()
            plan = followed(kind, self._projections, records, self._deciders, known, now_ms, "global")
            fold.follow(plan.followers, plan.dropped)

    def resume(self, follower: str) -> None:
        """Let a follower that failed try its event again, on each partition."""
        for fold in self.folds.values():
            fold.resume(follower)

    def refold(self, follower: str, where: Key, aggregate_id: str, number: int) -> None:
        """Build the rows of one aggregate anew."""
        self.folds[where].refold(follower, aggregate_id, number)


def missing_of(fold: ReadingFold, end: int) -> str:
    """Return what of a fold is not in a journal, in words. end: of the journal."""
    position = fold.position
    if position.offset > end:
        return f"ends at offset {end}, and was read up to {position.offset}"
    return f"has another record at offset {position.last_offset}, or none"
