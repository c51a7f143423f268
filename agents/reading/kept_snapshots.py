r"""Snapshots that the reading store keeps of states when it is asked to; a store that is built anew has none.

Rows: `n <id> <version>`: state version (8), head (36), created_at (27), the impersonal part; `w <id> <version>`: the
personal part. One counts where its head is the CID of the event of that version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import DecodeError

from annals.agents.reading.found import KeptSnapshot
from annals.agents.reading.layout import CID, NUMBER, TIME, after, decode_event, event_key, number, prefixed
from annals.agents.reading.states import StateRow

if TYPE_CHECKING:
    from annals.agents.reading.found import FoundState
    from annals.agents.reading.personal import StateParts
    from annals.agents.reading.ports import ReadView

SNAPSHOTS: Final = b"n"
PERSONAL: Final = b"w"
_HEAD: Final = slice(NUMBER, NUMBER + CID)
_CREATED: Final = slice(NUMBER + CID, NUMBER + CID + TIME)
_STATE: Final = NUMBER + CID + TIME


class KeptSnapshots:
    """The snapshots of one kind."""

    def __init__(self, parts: StateParts, state_version: int) -> None:
        """Take how states are encoded, and which version of it this release has."""
        self._parts = parts
        self._state_version = state_version

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
        self, found: FoundState, folded: Any, created_at: str
    ) -> tuple[KeptSnapshot, dict[bytes, bytes | None]]:
        """Return the snapshot of a state, and the rows that keep it."""
        public, personal = self._parts.split(folded)
        place = prefixed(b"", found.aggregate_id.encode()) + number(found.version)
        value = number(self._state_version) + found.head + created_at.encode() + public
        rows: dict[bytes, bytes | None] = {SNAPSHOTS + place: value}
        if personal is not None:
            rows[PERSONAL + place] = personal
        size = len(public) + len(personal or b"")
        return KeptSnapshot(found.version, found.head, size, created_at), rows

    def removal(self, view: ReadView, aggregate: bytes, version: int) -> dict[bytes, bytes | None]:
        """Return the rows that remove a snapshot; none where there is none."""
        place = prefixed(b"", aggregate) + number(version)
        return {} if view.get(SNAPSHOTS + place) is None else {SNAPSHOTS + place: None, PERSONAL + place: None}

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
                return StateRow(int.from_bytes(key[-NUMBER:], "big"), state)
        return None

    def _kept(self, view: ReadView, key: bytes, value: bytes) -> KeptSnapshot:
        personal = view.get(PERSONAL + key[len(SNAPSHOTS) :]) or b""
        version = int.from_bytes(key[-NUMBER:], "big")
        return KeptSnapshot(version, value[_HEAD], len(value) - _STATE + len(personal), value[_CREATED].decode())
