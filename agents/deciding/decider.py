"""The decider: what is the same for all aggregates about deciding, folding, and reading and writing their data.

The order of a decision is here, once: already true, open, rules. An aggregate says only its tables and its rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import NotOpen, UnknownEventError
from annals.agents.deciding.state import State
from annals.agents.defects import is_no_defect
from annals.schemas.data.copies import copied
from annals.schemas.data.stored import Reader
from annals.schemas.data.upcast import Upcast
from annals.schemas.data.validation import Validator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.schemas.data.complaints import Problem
    from annals.schemas.messages import Message

Data = dict[str, Any]


S = TypeVar("S", bound=State)


class Circumstances(msgspec.Struct, frozen=True, gc=False):
    """What a decision knows beside command and state: time and identity come with the command."""

    aggregate_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class EventSpec:
    """An event type in its newest form, and the upcasters from each older form to the next."""

    type: type[Message]
    upcasters: tuple[Upcast, ...] = ()

    @property
    def schema_version(self) -> int:
        """The version that is written: one more than there are older ones."""
        return len(self.upcasters) + 1

    def upcast(self, data: Data, stored: int, wanted: int) -> Data:
        """The data of one version as those of a later one; what an upcaster raises is raised.

        Others read the same data: an upcaster, which may be anybody's and change what it is given, is given a copy.
        """
        data = copied(data)
        for step in self.upcasters[stored - 1 : wanted - 1]:
            data = step(data)
        return data


def _asked(machine: Machine, row: On) -> frozenset[str]:
    """The statuses in which a row's wish may be true.

    A creation's wish is that there be such an aggregate: it may be true in every status that came after it.
    """
    return frozenset(machine.statuses if row.to is None or row.is_creation else (row.to,)) - {ABSENT}


def _checked(
    kind: str, machine: Machine, upcasters: Mapping[type[Message], tuple[Upcast, ...]]
) -> Mapping[type[Message], tuple[Upcast, ...]]:
    events = {event for row in machine.rows.values() for event in row.events}
    given: Mapping[type[Message], object] = upcasters  # by modules that no type checker may have seen
    for event, steps in given.items():
        if event not in events:
            raise TypeError(f"{kind} has upcasters of {event!r}, which is no event of its machine")
        if not isinstance(steps, tuple) or not all(isinstance(step, Upcast) for step in steps):
            raise TypeError(
                f"{kind}: the upcasters of {event.__name__} are a tuple of Upcast(older type, function), one for each "
                f"older version, not {steps!r}: an older version without its type has no schema"
            )
    return upcasters


class Decider(Generic[S]):
    """One aggregate: its machine, its state and its three functions.

    Args:
        kind: as on the wire.
        machine: statuses and rows.
        initial: the state before the first event; its type is the state's.
        state_version: of the state's encoding. One more whenever that changes: older snapshots are then ignored.
        already_true: whether the command's wish is true of a state; asked in the status that the row leads to, if any.
        decide: the events of an open command; raises Refused.
        evolve: the state after an event; never refuses.
        upcasters: for events that have older forms: of each the steps from one version to the next, in their order.

    Raises:
        TypeError: an upcaster is a bare function, or of something that is no event of the machine. The type of an older
            version is what its published schema is made from: without it that would vanish.
    """

    def __init__(
        self,
        kind: str,
        machine: Machine,
        initial: S,
        state_version: int,
        already_true: Callable[[Any, S], bool],
        decide: Callable[[Any, S, Circumstances], Sequence[Message]],
        evolve: Callable[[S, Any], S],
        upcasters: Mapping[type[Message], tuple[Upcast, ...]] | None = None,
    ) -> None:
        older = _checked(kind, machine, upcasters or {})
        self.kind: Final = kind
        self.machine: Final = machine
        self.initial: Final = initial
        self.state_type: Final[type[S]] = type(initial)
        self.state_version: Final = state_version
        self.commands: Final[Mapping[str, type[Message]]] = {c.__name__: c for c in machine.rows}
        self.events: Final[Mapping[str, EventSpec]] = {
            event.__name__: EventSpec(event, older.get(event, ()))
            for row in machine.rows.values()
            for event in row.events
        }
        self.evolve: Final = evolve
        self._already_true = already_true
        self._decide = decide
        self._readers = {name: Reader(spec.type) for name, spec in self.events.items()}
        self.parsers: Final[Mapping[str, Callable[[Data], Message | list[Problem]]]] = {
            name: Validator(command).parse for name, command in self.commands.items()
        }
        self.versions: Final[Mapping[type[Message], int]] = {s.type: s.schema_version for s in self.events.values()}
        self._asked = {command: _asked(machine, row) for command, row in machine.rows.items()}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(self.state_type)

    def parse(self, type_name: str, data: Data) -> Message | list[Problem]:
        """The typed command, or every member that offends (path, what is wrong).

        Raises:
            KeyError: the kind has no such command.
        """
        return self.parsers[type_name](data)

    def decide(self, command: Message, state: S, now: datetime, aggregate_id: str) -> Sequence[Message]:
        """The events that the command causes; [] when its wish is already true.

        Raises:
            NotOpen: the status does not take the command.
            Refused: a rule of its row is broken; the first one is named.
        """
        status, row = state.status, type(command)
        if status in self._asked[row] and self._already_true(command, state):
            return []
        if status not in self.machine.guards[row]:
            raise NotOpen(status, row.__name__)
        return self._decide(command, state, Circumstances(aggregate_id, now))

    def event_data(self, event: Message) -> Data:
        """The event's data as JSON types, members that were not given left out."""
        data: Data = msgspec.to_builtins(event)
        return data

    def event_name(self, event: Message) -> str:
        """The event's type on the wire."""
        return type(event).__name__

    def schema_version(self, event: Message) -> int:
        """The version in which the event's data are written."""
        return self.versions[type(event)]

    def read_event(self, type_name: str, schema_version: int, data: Data) -> Message:
        """A stored event in its newest form. Its shape is checked, the rules of commands are not.

        Raises:
            UnknownEventError: this release does not know the type or the version, or the data are none of it.
        """
        spec = self.events.get(type_name)
        if spec is None:
            unknown = "this release does not know the type"
            raise UnknownEventError(self.kind, type_name, schema_version, unknown, is_later=True)
        newest = spec.schema_version
        if not 1 <= schema_version <= newest:
            known = f"this release reads the versions 1 to {newest}"
            raise UnknownEventError(self.kind, type_name, schema_version, known, is_later=True)
        try:
            if schema_version < newest:
                data = spec.upcast(data, schema_version, newest)
            return self._readers[type_name].read(data)
        except BaseException as wrong:  # an upcaster of one's own may raise anything
            if is_no_defect(wrong):
                raise
            raise UnknownEventError(self.kind, type_name, schema_version, f"its data do not fit: {wrong}") from wrong

    def encode_state(self, state: S) -> bytes:
        """The state as MessagePack, for stores and snapshots; disposable."""
        return self._encoder.encode(state)

    def decode_state(self, encoded: bytes) -> S:
        """The state that `encode_state` of the same `state_version` wrote.

        Raises:
            msgspec.DecodeError: the bytes are none.
        """
        return self._decoder.decode(encoded)
