r"""Snapshots that the reading store keeps of states when it is asked to; a store that is built anew has none.

Rows: `n <id> <version>`: state version (8), head (36), created_at (27), the impersonal part; `w <id> <version>`: the
personal part. One counts where its head is the CID of the event of that version.

Of each aggregate the newest stay. Older ones are thinned out rather than removed, so that a former state is never
folded from the first event: one stays where the events since the one before it have `SPACING` times its bytes. So those
that stay have at most one part in `SPACING` of the events' bytes, however long the chain is.
"""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import DecodeError

from annals.agents.reading.found import KeptSnapshot, SnapshotNumbers
from annals.agents.reading.keeping.layout import (
    CID,
    LENGTH,
    NUMBER,
    TIME,
    after,
    decode_event,
    event_key,
    number,
    prefixed,
    read_aggregate,
)
from annals.agents.reading.keeping.states import StateRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.found import FoundState
    from annals.agents.reading.keeping.personal import StateParts
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.snapshots.recent_states import RecentStates

    _Size = tuple[bytes, str, int]  # key, when it was made, bytes of the impersonal part

SNAPSHOTS: Final = b"n"
PERSONAL: Final = b"w"
SPACING: Final = 4
_HEAD: Final = slice(NUMBER, NUMBER + CID)
_CREATED: Final = slice(NUMBER + CID, NUMBER + CID + TIME)
_STATE: Final = NUMBER + CID + TIME


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

    def listed(self, view: ReadView, aggregate: bytes) -> list[KeptSnapshot]:
        """Return an aggregate's snapshots, the newest last."""
        prefix = prefixed(SNAPSHOTS, aggregate)
        return [self._kept(view, key, value) for key, value in view.range(prefix, after(prefix))]

    def newest_version(self, view: ReadView, aggregate: bytes) -> int | None:
        """Return the version of the newest snapshot; None if there is none."""
        prefix = prefixed(SNAPSHOTS, aggregate)
        newest = next(iter(view.range(prefix, after(prefix), reverse=True)), None)
        return None if newest is None else int.from_bytes(newest[0][-NUMBER:], "big")

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
        newest_first = view.range(prefix, after(prefix), reverse=True)
        sizes = [_size(row) for row in islice(newest_first, keep + 2 if keep else None)]
        return self._outdated(view, aggregate, sizes[::-1], keep, oldest)

    def outdated(self, view: ReadView, keep: int, oldest: str | None) -> dict[bytes, bytes | None]:
        """Return the rows that remove the same of all aggregates, whichever of their snapshots it is."""
        removed: dict[bytes, bytes | None] = {}
        sizes = map(_size, view.range(SNAPSHOTS, after(SNAPSHOTS)))
        for place, snapshots in groupby(sizes, key=lambda size: size[0][:-NUMBER]):
            removed |= self._outdated(view, place[len(SNAPSHOTS) + LENGTH :], [*snapshots], keep, oldest)
        return removed

    def _outdated(
        self, view: ReadView, aggregate: bytes, snapshots: Sequence[_Size], keep: int, oldest: str | None
    ) -> dict[bytes, bytes | None]:
        """snapshots: of the aggregate, the oldest first."""
        removed: dict[bytes, bytes | None] = {}
        end, former, before = read_aggregate(view, aggregate), len(snapshots) - keep if keep else 0, 0
        for at, (key, created_at, size) in enumerate(snapshots):
            version, personal_key = int.from_bytes(key[-NUMBER:], "big"), PERSONAL + key[len(SNAPSHOTS) :]
            is_too_close = False
            if at < former:
                size += len(view.get(personal_key) or b"")  # noqa: PLW2901
                is_too_close = (version - before) * end.block_bytes < SPACING * size * end.version
            if is_too_close or (oldest is not None and created_at < oldest):
                removed |= {key: None, personal_key: None}
            else:
                before = version
        return removed

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
            event = view.get(event_key(aggregate, int.from_bytes(key[-NUMBER:], "big")))
            is_of_chain = event is not None and decode_event(event).cid == value[_HEAD]
            if is_of_chain and int.from_bytes(value[:NUMBER], "big") == self._state_version:
                personal = view.get(PERSONAL + key[len(SNAPSHOTS) :])
                try:
                    state = self._parts.join(value[_STATE:], personal)
                except DecodeError:
                    continue
                self.hits += 1
                return StateRow(int.from_bytes(key[-NUMBER:], "big"), state)
        self.misses += 1
        return None

    def _kept(self, view: ReadView, key: bytes, value: bytes) -> KeptSnapshot:
        personal = view.get(PERSONAL + key[len(SNAPSHOTS) :]) or b""
        version = int.from_bytes(key[-NUMBER:], "big")
        return KeptSnapshot(version, value[_HEAD], len(value) - _STATE + len(personal), value[_CREATED].decode())


def _size(row: tuple[bytes, bytes]) -> _Size:
    """Return what tells whether a snapshot stays, without the snapshot, which may be large."""
    key, value = row
    return key, value[_CREATED].decode(), len(value) - _STATE
