"""The state follower: of each aggregate its newest state, as the decider folds it, in two rows (`StateParts`).

An event that this release cannot read stops the state of its aggregate alone, at the version before it. It goes on by
itself, from the rows of the event index, as soon as a release that can read the event folds the next one.
"""

from __future__ import annotations

from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import DecodeError

from annals.agents.deciding.refusals import UnknownEventError
from annals.agents.ports import StoreDamagedError
from annals.agents.reading.keeping.blocks import event_in
from annals.agents.reading.keeping.layout import NUMBER, PERSONAL, STATES, event_key, number
from annals.agents.reading.keeping.messages import message_of
from annals.agents.reading.keeping.personal import StateParts
from annals.agents.reading.keeping.remembered import STATE_FACTOR, Remembered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.reading.ports import ReadView, Rows
    from annals.schemas.journal_reader import Counted


class StateRow(NamedTuple):
    """A state, and the version of its last event; 0 and the initial state before any."""

    version: int
    state: Any


class KeptState(NamedTuple):
    """A state, its two rows, and about the bytes of all."""

    value: bytes | None
    personal: bytes | None
    row: StateRow
    size_bytes: int


class States:
    """Folds states (the `Follower` port). Another encoding of a kind's states begins anew."""

    name: Final = "states"
    spaces: Final = (STATES, PERSONAL)

    def __init__(self, decider: Decider[Any]) -> None:
        """Take the kind's decider."""
        self._decider = decider
        self.initial: Final = decider.initial
        self.parts: Final = StateParts(decider)
        self.version = decider.state_version
        self._lately: Remembered[KeptState] = Remembered(attrgetter("size_bytes"))

    def fold(self, events: Sequence[Counted[Any]], partition: int, rows: Rows) -> None:
        """Fold events into their aggregates' states."""
        del partition
        known = self._known(sorted({counted.key for counted in events}), rows)
        states = {key: kept.row for key, kept in known.items()}
        for counted in events:
            key = counted.key
            states[key] = self._next(states[key], key, counted, rows)
        for key, row in states.items():
            if row.version:
                public, personal = self.parts.split(row.state)
                value = number(row.version) + public
                rows.put(STATES + key, value)
                if personal is not None and personal != known[key].personal:
                    rows.put(PERSONAL + key, personal)
                self._lately.keep(key, _kept(value, personal, row))

    def read(self, view: ReadView, key: bytes) -> StateRow:
        """Return an aggregate's newest state.

        Raises:
            StoreDamagedError: what is kept is no state.
        """
        value, personal = self._values([key], view)[0]
        return self._row(key, value, personal)

    def status(self, value: bytes) -> str:
        """Return the status in a state's impersonal row."""
        return self.parts.status(value[NUMBER:])

    def after(self, state: Any, event: dict[str, Any]) -> Any:
        """Return the state after an event.

        Raises:
            UnknownEventError: this release cannot read it.
        """
        typed = self._decider.read_event(event["type"], event["schema_version"], event["data"])
        return self._decider.evolve(state, typed)

    def _known(self, keys: list[bytes], rows: Rows) -> dict[bytes, KeptState]:
        """Return states as their rows have them; those that were written lately are not decoded again."""
        known: dict[bytes, KeptState] = {}
        for key, (value, personal) in zip(keys, self._values(keys, rows), strict=True):
            kept = self._lately.get(key, None)
            if kept is None or kept.value != value or kept.personal != personal:
                kept = _kept(value, personal, self._row(key, value, personal))
            known[key] = kept
        return known

    def _values(self, keys: list[bytes], view: ReadView) -> list[tuple[bytes | None, bytes | None]]:
        places = [STATES + key for key in keys]
        if self.parts.personal:
            places += [PERSONAL + key for key in keys]
        values = view.get_many(places)
        return list(zip(values, values[len(keys) :] or repeat(None), strict=False))

    def _row(self, key: bytes, value: bytes | None, personal: bytes | None) -> StateRow:
        if value is None:
            return StateRow(0, self.initial)
        try:
            state = self.parts.join(value[NUMBER:], personal)
        except DecodeError as error:
            raise StoreDamagedError(f"the state of {key!r} cannot be read: {error}") from error
        return StateRow(int.from_bytes(value[:NUMBER], "big"), state)

    def _next(self, known: StateRow, key: bytes, counted: Counted[Any], rows: Rows) -> StateRow:
        version, state = known
        event = counted.event
        try:
            while version + 1 < event["version"]:  # behind an event that could not be read: perhaps it can be now
                place = event_key(key, version + 1)
                state = self.after(state, event_in(self._decider.kind, place[1:], rows.get(place))[1])
                version += 1
            return StateRow(event["version"], self._decider.evolve(state, message_of(self._decider, counted)))
        except UnknownEventError:
            return StateRow(version, state)


def _kept(value: bytes | None, personal: bytes | None, row: StateRow) -> KeptState:
    return KeptState(value, personal, row, STATE_FACTOR * (len(value or b"") + len(personal or b"")))
