"""The fold of global projections: all journal partitions of their kinds into one store, each with its own position.

Each partition is a `ReadingFold` of its own below a prefix of its own; the rows of projections alone are shared, so
that a question can go from a row of one partition to that of another. A batch changes rows and one partition's
positions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.fold import ReadingFold
from annals.agents.reading.layout import follower_key, read_follower
from annals.agents.reading.projecting import INDEXES, ROWS, spaces_of_follower
from annals.agents.reading.versions import followed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import JournalRecord
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.ports import (
        Follower,
        ReadingStore,
        ReadView,
    )
    from annals.schemas.projection_record import ProjectionRecord

    Where = tuple[str, int]  # kind, partition

PARTITIONS: Final = b"g"
SHARED: Final = (ROWS, INDEXES)


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
        records: Mapping[str, ProjectionRecord],
        now_ms: int,
    ) -> None:
        """Go on where the store stands."""
        self.store = store
        self._projections = projections
        self._deciders = deciders
        self._parts = {
            (kind, at): PartStore(store, prefix_of(kind, at)) for kind in partitions for at in range(partitions[kind])
        }
        plans = {kind: followed(kind, projections, records, deciders, (), now_ms, "global") for kind in partitions}
        followers = {kind: plan.followers for kind, plan in plans.items()}
        self._begin(followers)
        self.folds = {
            (kind, at): ReadingFold(kind, at, partitions[kind], part, followers[kind])
            for (kind, at), part in self._parts.items()
        }

    def apply(self, where: Where, records: Sequence[JournalRecord]) -> None:
        """Fold records of a partition (see `ReadingFold.apply`)."""
        self.folds[where].apply(records)

    def catch_up(self) -> bool:
        """Hand the next events to a follower that is behind; False when none is that could go on."""
        return any(fold.catch_up() for fold in self.folds.values())

    def follow(self, records: Mapping[str, ProjectionRecord], now_ms: int) -> None:
        """Have the projections that the records ask for."""
        for (kind, _), fold in self.folds.items():
            known = fold.known()
            plan = followed(kind, self._projections, records, self._deciders, known, now_ms, "global")
            fold.follow(plan.followers, {name: spaces_of_follower(name) for name in plan.dropped})

    def resume(self, follower: str) -> None:
        """Let a follower that failed try its event again, on each partition."""
        for fold in self.folds.values():
            fold.resume(follower)

    def refold(self, follower: str, where: Where, aggregate_id: str, number: int) -> None:
        """Build the rows of one aggregate anew."""
        self.folds[where].refold(follower, aggregate_id, number)

    def _begin(self, followers: Mapping[str, Sequence[Follower]]) -> None:
        """Have a follower begin anew on all partitions where it must on one: the rows are those of all."""
        every = {follower.name: follower for some in followers.values() for follower in some}
        for name, follower in every.items():
            parts = [
                part
                for (kind, _), part in self._parts.items()
                if any(other.name == name for other in followers.get(kind, ()))
            ]
            known = [read_follower(part, name) for part in parts]
            if any(one is None or one[0] != follower.version for one in known):
                for part in parts:
                    part.apply({follower_key(name): None})
