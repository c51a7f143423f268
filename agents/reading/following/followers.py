"""The followers of one store: what each has folded, which stand at an event on which they failed, and who is behind.

Where events come from is for the classes below: a journal partition, by the reader's rule
(`annals.agents.reading.following.fold`), and a partition of a re-keyed stream (`rekeyed_fold`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.reading.following.guarded import fold_guarded
from annals.agents.reading.keeping.layout import (
    POSITION,
    after,
    encode_follower,
    encode_position,
    follower_key,
    read_follower,
    read_position,
)
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.projecting.builds import Builds
from annals.agents.reading.projecting.rows import ProjectionFollower, aggregates_name, row_set_of, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.ports import Position
    from annals.agents.reading.ports import Follower, ReadingStore, ReadView
    from annals.schemas.journal_reader import Counted

DROPPED_ROWS: Final = 10_000


class Behind(NamedTuple):
    """A follower that is behind, and the offset from which it goes on."""

    name: str
    offset: int


class FollowersFold:
    """Folds the events that count in one partition into the rows of all followers.

    position: up to where the partition was read; failed: followers that stand at an event on which they failed. Of a
    projection's version there may be two: of the rows that answer, and of those that are built beside them
    (`annals.agents.reading.projecting.builds`).
    """

    def __init__(
        self,
        partition: int,
        where: str,
        store: ReadingStore,
        followers: Sequence[Follower],
        builds: Builds | None = None,
    ) -> None:
        """Go on where the store stands. A follower that is not of the version in the store begins anew.

        where: the partition in messages. builds: of a store of several partitions, whose owner turns to rows that were
        built beside; None: the store is this partition's.
        """
        self._owns_builds = builds is None
        self._builds = Builds(store) if builds is None else builds
        self._partition = partition
        self._where = where
        self._store = store
        self.position = read_position(store)
        self.failed: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._followers: dict[str, Follower] = {}
        self._beside: set[str] = set()
        self._not_refolded: dict[str, tuple[int, str]] = {}
        self._offsets: dict[str, int] = {}
        self._wanted = followers
        self.admit()

    @property
    def stale(self) -> dict[str, str]:
        """Why the rows of followers are behind.

        Also why rows that are built beside others go on no further, and why those of an aggregate were not built anew,
        by names of their own.
        """
        if not self._reasons and not self._not_refolded:  # each answer has it
            return {}
        found = {
            name if name in self._beside else title_of(name): reason
            for name, reason in self._reasons.items()
            if name not in self._beside or name in self.failed
        }
        return found | {aggregates_name(title, at): why for title, (at, why) in self._not_refolded.items()}

    def turn(self) -> bool:
        """Turn to rows that were built beside, where they have reached those that answer; whether there were any."""
        if self._owns_builds and self._builds.turn():
            self.admit()
            return True
        return False

    def sweep(self) -> bool:
        """Remove some of the rows that are gone; whether there were any."""
        return self._owns_builds and self._builds.sweep()

    def behind(self) -> Behind | None:
        """Return a follower that is behind and has not failed; None where there is none."""
        for name, offset in self._offsets.items():
            if offset < self.position.offset and name not in self.failed:
                return Behind(name, offset)
        return None

    def catch_up_with(self, name: str, events: Sequence[Counted[Any]], behind: int) -> None:
        """Hand a follower that is behind its next events; behind: the offset from which it goes on then."""
        rows = Overlay(self._store)
        reached = self._hand(self._followers[name], events, rows, behind)
        self._store.apply(rows.changes)
        self._offsets[name] = reached
        self._note_behind()

    def resume(self, name: str) -> None:
        """Let a follower that failed try the same event again; of a projection's version all that fold it."""
        self.failed = {each for each in self.failed if title_of(each) != name}
        self._note_behind()

    def follow(self, followers: Sequence[Follower], dropped: Sequence[str] = ()) -> None:
        """Have other followers than before: new ones catch up, others rest where they are.

        dropped: projections' versions whose rows go.
        """
        for each in map(row_set_of, dropped):
            if each is not None:
                self._builds.drop(each.name, each.version)
        self._wanted = followers
        self.admit()

    def admit(self) -> None:
        """Have the followers that are wanted, as the store has them: rows may have been begun, turned to or dropped."""
        followed: dict[str, Follower] = {}
        self._beside = set()
        for each in self._wanted:
            one_or_two = self._builds.admit(each) if isinstance(each, ProjectionFollower) else [each]
            followed |= {follower.name: follower for follower in one_or_two}
            self._beside |= {follower.name for follower in one_or_two[1:]}
        for name, follower in followed.items():
            known = self._followers.get(name)
            offset = self._begin(follower)
            if known is None or known.version != follower.version or offset != self._offsets[name]:
                self.failed.discard(name)
            self._offsets[name] = offset
        self._followers = followed
        self._offsets = {name: self._offsets[name] for name in followed}
        self.failed &= followed.keys()
        self._reasons = {name: reason for name, reason in self._reasons.items() if name in followed}
        self._note_behind()

    def known(self) -> list[str]:
        """Return the names of all followers that have a position in the store, followed or not, each once."""
        found = [key[len(POSITION) :].decode() for key, _ in self._store.range(POSITION + b"\0", after(POSITION))]
        return list(dict.fromkeys(map(title_of, found)))

    def _answers_for(self, follower: Follower, title: str) -> bool:
        return title_of(follower.name) == title and follower.name not in self._beside

    def _write(self, rows: Overlay, counted: Sequence[Counted[Any]], position: Position) -> None:
        """Have all followers that are not behind fold events, and write their rows and positions in one batch."""
        offsets = dict(self._offsets)
        for name, follower in self._followers.items():
            if offsets[name] == self.position.offset and name not in self.failed:
                offsets[name] = self._hand(follower, counted, rows, position.offset)
        self._complete(rows, counted)
        rows.put(POSITION, encode_position(position))
        self._store.apply(rows.changes)
        self.position, self._offsets = position, offsets

    def _complete(self, rows: Overlay, counted: Sequence[Counted[Any]]) -> None:
        """Add rows to the batch that rest on those of the followers: here none."""

    def _hand(self, follower: Follower, events: Sequence[Counted[Any]], rows: Overlay, behind: int) -> int:
        """Have a follower fold events; return from where it goes on: `behind`, or the event on which it failed."""
        own, failure = fold_guarded(follower, events, self._partition, rows, self._where)
        if failure is not None:
            self.failed.add(follower.name)
            self._reasons[follower.name], behind = failure.reason, failure.offset
        rows.changes.update(own.changes)
        rows.put(follower_key(follower.name), encode_follower(follower.version, behind))
        return behind

    def _begin(self, follower: Follower) -> int:
        known = read_follower(self._store, follower.name)
        if known is not None and known[0] == follower.version:
            return known[1]
        _drop(self._store, follower.spaces)
        self._store.apply({follower_key(follower.name): encode_follower(follower.version, 0)})
        return 0

    def _note_behind(self) -> None:
        for name, offset in self._offsets.items():
            if name in self.failed:
                continue
            if offset < self.position.offset:
                self._reasons[name] = f"catching up: at offset {offset} of {self.position.offset}"
            else:
                self._reasons.pop(name, None)


def _drop(store: ReadingStore, spaces: Sequence[bytes]) -> None:
    """Remove all rows of a follower. Killed meanwhile, it is begun again: the position has the former version yet."""
    for space in spaces:
        while rows := _first_keys(store, space):
            store.apply(dict.fromkeys(rows))


def _first_keys(view: ReadView, space: bytes) -> list[bytes]:
    return [key for key, _ in islice(view.range(space, after(space)), DROPPED_ROWS)]
