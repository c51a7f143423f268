"""The two machines of an aggregate as one table: Moore's statuses and Mealy's rows.

Moore: a status alone says which commands are open. Mealy: status and command say which events follow. The guard of the
decider, the diagram in the docs and the property tests are all made from the same literals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ABSENT: Final = "absent"
"""Before the first event."""

Edge = tuple[str, type, str]
"""A status, an event, and the status that the event leads to (the same one, when it stays)."""


@dataclass(frozen=True, slots=True)
class On:
    """One row: a command, the events that may follow it, and where.

    `where` empty means each status that is neither terminal nor frozen. `to` is the status that the command's wish
    includes: its first event leads there. `moves` are further events that change the status, `may_move` those that
    change it or let it be, as their data say.
    """

    command: type
    events: tuple[type, ...]
    where: tuple[str, ...] = ()
    to: str | None = None
    moves: Mapping[type, str] = field(default_factory=dict)
    may_move: Mapping[type, str] = field(default_factory=dict)

    @property
    def is_creation(self) -> bool:
        """Whether the row makes the aggregate."""
        return self.where == (ABSENT,)

    def targets(self, event: type, status: str) -> tuple[str, ...]:
        """The statuses that may come after the event."""
        if self.to is not None and event is self.events[0]:
            return (self.to,)
        if event in self.may_move:
            return (status, self.may_move[event])
        return (self.moves.get(event, status),)


class Machine:
    """Statuses and rows, checked against each other when made; a mistake in a literal never reaches a command.

    Args:
        open_: statuses that are neither terminal nor frozen, with what they mean.
        terminal: statuses without exits.
        frozen: statuses that only rows which name them leave.
        rows: one per command.

    Raises:
        ValueError: a row names a status or repeats a command that cannot be.
    """

    def __init__(
        self,
        rows: tuple[On, ...],
        *,
        open_: Mapping[str, str],
        terminal: Mapping[str, str],
        frozen: Mapping[str, str] | None = None,
    ) -> None:
        self.statuses: Final[Mapping[str, str]] = {**open_, **(frozen or {}), **terminal}
        self.terminal: Final = frozenset(terminal)
        self.rows: Final[Mapping[type, On]] = {row.command: row for row in rows}
        self._default = tuple(open_)
        if doubles := [row.command for row in rows if self.rows[row.command] is not row]:
            raise ValueError(f"{next(c.__name__ for c in doubles)} has two rows")
        for row in rows:
            named = {*self.where(row), *row.moves.values(), *row.may_move.values(), row.to or ABSENT}
            if unknown := named - self.statuses.keys() - {ABSENT}:
                raise ValueError(f"{row.command.__name__} names unknown statuses: {sorted(unknown)}")
            if closed := self.terminal.intersection(self.where(row)):
                raise ValueError(f"{row.command.__name__} would leave terminal statuses: {sorted(closed)}")
        self.guards: Final[Mapping[type, frozenset[str]]] = {row.command: frozenset(self.where(row)) for row in rows}

    def where(self, row: On) -> tuple[str, ...]:
        """The statuses in which a row's command is open."""
        return row.where or self._default

    def open_commands(self, status: str) -> tuple[type, ...]:
        """What a status takes: Moore's output."""
        return tuple(command for command, guard in self.guards.items() if status in guard)

    def edges(self) -> Iterator[Edge]:
        """Every step that an event may make."""
        for row in self.rows.values():
            for status in self.where(row):
                for event in row.events:
                    for target in row.targets(event, status):
                        yield status, event, target

    def mermaid(self) -> str:
        """The diagram: edges are `command / event`, a status lists the commands that leave it as it is."""
        lines = ["stateDiagram-v2"]
        for status, meaning in self.statuses.items():
            lines.append(f"    {status} : {status} ({meaning})" if meaning else f"    {status} : {status}")
            stays = [
                row.command.__name__
                for row in self.rows.values()
                if status in self.where(row) and any(status in row.targets(event, status) for event in row.events)
            ]
            lines += [f"    {status} : {name}" for name in stays]
        for row in self.rows.values():
            for status in self.where(row):
                start = "[*]" if status == ABSENT else status
                lines += [
                    f"    {start} --> {target} : {row.command.__name__} / {event.__name__}"
                    for event in row.events
                    for target in row.targets(event, status)
                    if target != status
                ]
        lines += [f"    {status} --> [*]" for status in self.statuses if status in self.terminal]
        return "\n".join(lines) + "\n"
