"""`given(*events).when(command).then(*events)`: what an aggregate answers, said as a test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from annals.agents.deciding.refusals import NotOpen, Refused
from annals.agents.registered import deciders
from annals.schemas.commands import NewCommand

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.schemas.data.complaints import Problem
    from annals.schemas.messages import Message

NOW: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


def given(
    *events: Message, decider: Decider[Any] | None = None, aggregate_id: str = "this-one", now: datetime = NOW
) -> Given:
    """What has happened so far: nothing, or these events, oldest first.

    Args:
        events: of one aggregate.
        decider: needed only for an aggregate that neither this project has nor an installed distribution registers.
        aggregate_id: of the aggregate that is asked.
        now: the decision time, aware.
    """
    return Given(events, decider, aggregate_id, now)


@dataclass(frozen=True, slots=True)
class Given:
    """A past, waiting for a command."""

    events: tuple[Message, ...]
    decider: Decider[Any] | None
    aggregate_id: str
    now: datetime

    def when(self, command: Message | NewCommand) -> Answer:
        """The command is sent, bare or in its envelope; its data go through the parser as a real one's do."""
        if isinstance(command, NewCommand):
            return replace(self, aggregate_id=command.aggregate_id).when(command.message)
        decider = self.decider or _decider_of(command)
        return self._answer(decider, type(command).__name__, msgspec.to_builtins(command))

    def when_sent(self, type_name: str, data: dict[str, Any], kind: str = "") -> Answer:
        """The command is sent as JSON says it, for data that no typed command can hold.

        Raises:
            KeyError: there is no such kind or command.
        """
        return self._answer(self.decider or deciders()[kind], type_name, data)

    def _answer(self, decider: Decider[Any], type_name: str, data: dict[str, Any]) -> Answer:
        state = decider.initial
        for event in self.events:
            state = decider.evolve(state, event)
        command = decider.parse(type_name, data)
        if isinstance(command, list):
            return Answer(type_name, invalid=command)
        try:
            return Answer(type_name, events=decider.decide(command, state, self.now, self.aggregate_id))
        except (Refused, NotOpen) as no:
            return Answer(type_name, refusal=no)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the command. Each `then` raises AssertionError unless it was exactly that."""

    command: str
    events: Sequence[Message] | None = None
    refusal: Refused | NotOpen | None = None
    invalid: Iterable[Problem] = ()

    def then(self, *events: Message) -> None:
        """Exactly these events, in this order."""
        if not events:
            raise TypeError("then() without events says nothing: use then_nothing()")
        if self.events is None or list(self.events) != list(events):
            self._fail("\n  ".join(["these events:", *map(repr, events)]))

    def then_nothing(self) -> None:
        """No event: the wish was already true."""
        if self.events is None or len(self.events) > 0:
            self._fail("no event, since the wish is already true")

    def then_refused(self, rule: str) -> None:
        """A rule is broken, and this one is named."""
        if not isinstance(self.refusal, Refused) or self.refusal.rule != rule:
            self._fail(f"a refusal by the rule {rule}")

    def then_not_open(self, status: str) -> None:
        """The command is not open to this status."""
        if not isinstance(self.refusal, NotOpen) or self.refusal.status != status:
            self._fail(f"not to be open in the status {status}")

    def then_invalid(self, *paths: str) -> None:
        """Malformed: exactly these members offend."""
        if not self.invalid or sorted(path for path, _ in self.invalid) != sorted(paths):
            self._fail(f"to be malformed at {', '.join(paths)}")

    def _fail(self, wanted: str) -> NoReturn:
        if self.events is not None:
            came = "\n  ".join(["these events:", *map(repr, self.events)]) if self.events else "no event"
        elif self.refusal is not None:
            came = f"{type(self.refusal).__name__}: {self.refusal}"
        else:
            came = f"malformed: {dict(self.invalid)}"
        raise AssertionError(f"{self.command}: expected {wanted}\nbut it was {came}")


def _decider_of(command: Message) -> Decider[Any]:
    for decider in deciders().values():
        if type(command) in decider.machine.rows:
            return decider
    raise TypeError(
        f"{type(command).__name__} is no command of a registered aggregate: give its decider to given(), or register "
        "it by an entry point of annals.aggregates, and install its distribution"
    )
