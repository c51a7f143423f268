r"""Snapshots that the reading store keeps of states when it is asked to; a store that is built anew has none.

Rows: `n <id> <version>`: state version (8), head (36), created_at (27), the impersonal part; `w <id> <version>`: the
personal part. One counts where its head is the CID of the event of that version.

Of each aggregate the newest stay. Older ones are thinned out rather than removed, so that a former state is not folded
from the first event: one stays where the events since the one before it have `SPACING` times its bytes, and where its
version is twice that of the one before it. So few stay however large they are, and at worst half of a chain is folded.
One that is not of the chain any more, or that another release made, stays among the newest alone.
"""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import DecodeError

from annals.agents.reading.found import KeptSnapshot, SnapshotNumbers
from annals.agents.reading.keeping.layout import (
    ABSENT,
    CID,
    LENGTH,
    NUMBER,
    TIME,
    after,
    cid_in,
    event_key,
    number,
    prefixed,
    read_aggregate,
)
from annals.agents.reading.keeping.states import StateRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.found import FoundState
    from annals.agents.reading.keeping.layout import AggregateRow
    from annals.agents.reading.keeping.personal import StateParts
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.snapshots.recent_states import RecentStates

SNAPSHOTS: Final = b"n"
PERSONAL: Final = b"w"
SPACING: Final = 4
_HEAD: Final = slice(NUMBER, NUMBER + CID)
_CREATED: Final = slice(NUMBER + CID, NUMBER + CID + TIME)
_STATE: Final = NUMBER + CID + TIME


class _Row(NamedTuple):
    """What tells whether a snapshot stays, without the state, which may be large. size: of its impersonal part."""

    key: bytes
    state_version: int
    head: bytes
    created_at: str
    size: int

    @property
    def version(self) -> int:
        return _version_of(self.key)

    @property
    def personal_key(self) -> bytes:
        return PERSONAL + self.key[len(SNAPSHOTS) :]


class KeptSnapshots:
    """The snapshots of one kind, and its recently used states. hits, misses: of questions for former versions."""

    def __init__(self, kind: str, parts: StateParts, state_version: int, recent: RecentStates) -> None:
        """Take how states are encoded, which version of it this release has, and those in memory."""
        self._kind = kind
        self._parts = parts
        self._state_version = state_version
        self._recent = recent
        self.hits = self.misses = 0

    def recent(self, cid: bytes) -> FoundState | None:
        """Return the aggregate as it was found behind an event, if that was asked for recently."""
        return self._recent.get(self._kind, self._state_version, cid)

    def note(self, cid: bytes, found: FoundState, folded: Any) -> None:
        """Keep an aggregate in memory for a while, as it was found behind an event. folded: its state."""
        size = sum(len(part or b"") for part in self._parts.split(folded))
        self._recent.keep(self._kind, self._state_version, cid, found, size)

    def listed(
        self, view: ReadView, aggregate: bytes, behind: int | None, limit: int, *, descending: bool
    ) -> list[KeptSnapshot]:
        """Return an aggregate's snapshots by version, behind one; descending: the newest first."""
        first = last = prefixed(SNAPSHOTS, aggregate)
        last = last + number(behind) if descending and behind is not None else after(last)
        first = first if descending or behind is None else first + number(behind) + b"\0"
        rows = islice(view.range(first, last, reverse=descending), limit)
        return [self._kept(view, key, value) for key, value in rows]

    def newest_version(self, view: ReadView, aggregate: bytes) -> int | None:
        """Return the version of the newest snapshot; None if there is none."""
        prefix = prefixed(SNAPSHOTS, aggregate)
        newest = next(view.keys(prefix, after(prefix), reverse=True), None)
        return None if newest is None else _version_of(newest)

    def rows_of(
        self, aggregate: bytes, version: int, head: bytes, folded: Any, created_at: str
    ) -> tuple[KeptSnapshot, dict[bytes, bytes | None]]:
        """Return the snapshot of a state, and the rows that keep it."""
        public, personal = self._parts.split(folded)
        place = prefixed(b"", aggregate) + number(version)
        value = number(self._state_version) + head + created_at.encode() + public
        rows: dict[bytes, bytes | None] = {SNAPSHOTS + place: value}
        if personal is not None:
            rows[PERSONAL + place] = personal
        size = len(public) + len(personal or b"")
        return KeptSnapshot(version, head, size, created_at), rows

    def removal(self, view: ReadView, aggregate: bytes, version: int) -> dict[bytes, bytes | None]:
        """Return the rows that remove a snapshot; none where there is none."""
        place = prefixed(b"", aggregate) + number(version)
        return {} if view.get(SNAPSHOTS + place) is None else {SNAPSHOTS + place: None, PERSONAL + place: None}

    def superseded(self, view: ReadView, aggregate: bytes, keep: int, oldest: str | None) -> dict[bytes, bytes | None]:
        """Return the rows that remove what an aggregate's newest snapshot supersedes.

        keep: how many of the newest stay (0: all); oldest: older ones go. Of those behind the newest only the next one
        is looked at, since the others were before.
        """
        prefix = prefixed(SNAPSHOTS, aggregate)
        newest_first = view.keys(prefix, after(prefix), reverse=True)
        keys = list(islice(newest_first, keep + 2 if keep else None))
        return self._outdated(view, aggregate, keys[::-1], keep, oldest)

    def outdated(self, view: ReadView, keep: int, oldest: str | None) -> dict[bytes, bytes | None]:
        """Return the rows that remove the same of all aggregates, whichever of their snapshots it is."""
        removed: dict[bytes, bytes | None] = {}
        for place, keys in groupby(view.keys(SNAPSHOTS, after(SNAPSHOTS)), key=lambda key: key[:-NUMBER]):
            removed |= self._outdated(view, place[len(SNAPSHOTS) + LENGTH :], [*keys], keep, oldest)
        return removed

    def _outdated(
        self, view: ReadView, aggregate: bytes, keys: Sequence[bytes], keep: int, oldest: str | None
    ) -> dict[bytes, bytes | None]:
        """keys: of the aggregate's snapshots, the oldest first. Of those that stay in any case nothing is read."""
        removed: dict[bytes, bytes | None] = {}
        former, before = len(keys) - keep if keep else 0, 0
        looked_at = keys if oldest is not None else keys[: max(former, 0)]
        end = read_aggregate(view, aggregate) if looked_at else ABSENT
        for at, key in enumerate(looked_at):
            value = view.get(key)
            if value is None:
                continue
            row = _row(key, value)
            stays = oldest is None or row.created_at >= oldest
            if stays and at < former:
                stays = self._is_far(view, row, before, end) and self._is_of_chain(view, aggregate, row)
            if stays:
                before = row.version
            else:
                removed |= {row.key: None, row.personal_key: None}
        return removed

    def _is_far(self, view: ReadView, row: _Row, before: int, end: AggregateRow) -> bool:
        """Whether a former snapshot is far enough behind the one before it. end: of its aggregate."""
        if row.version >= 2 * before:
            return True
        size = row.size + len(view.get(row.personal_key) or b"")
        return (row.version - before) * end.block_bytes >= SPACING * size * end.version

    def _is_of_chain(self, view: ReadView, aggregate: bytes, row: _Row) -> bool:
        """Whether states can be folded from a snapshot: it is of the chain, and of this release's state version."""
        event = view.get(event_key(aggregate, row.version))
        return event is not None and cid_in(event) == row.head and row.state_version == self._state_version

    def numbers(self, view: ReadView) -> SnapshotNumbers:
        """Return what is kept, and how often it helped."""
        count = size = 0
        oldest: str | None = None
        for _, value in view.range(SNAPSHOTS, after(SNAPSHOTS)):
            created = value[_CREATED].decode()
            count, size = count + 1, size + len(value) - _STATE
            oldest = created if oldest is None else min(oldest, created)
        size += sum(len(value) for _, value in view.range(PERSONAL, after(PERSONAL)))
        return SnapshotNumbers(count, size, oldest, self.hits, self.misses)

    def nearest(self, view: ReadView, aggregate: bytes, version: int) -> StateRow | None:
        """Return the newest state that is kept up to a version, and is of the chain; None if there is none."""
        prefix = prefixed(SNAPSHOTS, aggregate)
        for key, value in view.range(prefix, prefix + number(version + 1), reverse=True):
            row = _row(key, value)
            if self._is_of_chain(view, aggregate, row):
                personal = view.get(row.personal_key)
                try:
                    state = self._parts.join(value[_STATE:], personal)
                except DecodeError:
                    continue
                self.hits += 1
                return StateRow(row.version, state)
        self.misses += 1
        return None

    def _kept(self, view: ReadView, key: bytes, value: bytes) -> KeptSnapshot:
        row = _row(key, value)
        size = row.size + len(view.get(row.personal_key) or b"")
        return KeptSnapshot(row.version, row.head, size, row.created_at)


def _version_of(key: bytes) -> int:
    return int.from_bytes(key[-NUMBER:], "big")


def _row(key: bytes, value: bytes) -> _Row:
    state_version, created_at = int.from_bytes(value[:NUMBER], "big"), value[_CREATED].decode()
    return _Row(key, state_version, value[_HEAD], created_at, len(value) - _STATE)
