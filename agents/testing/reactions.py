"""Given events, a reaction sends commands and sets timers: the kit for those who write reactions.

    given_reaction(EXPIRE_DEADLINES).on("w-1", WorkflowDefined(…), WorkflowStarted()).then_timers(
        {("w-1", "workflow"): "2026-11-29T12:00:00.000000Z"}
    ).at("2026-11-29T12:00:00Z").then(command("workflow", "w-1", ExpireDeadline(deadline="2026-11-29T12:00:00Z")))

For a reaction to events of another deployment, `via` says which deployments an event came through before:

    given_reaction(WELCOME).on("p-1", PersonRegistered(…), via=["payroll"]).then(…).then_via("payroll", "hr")
    given_reaction(WELCOME).on("p-1", PersonRegistered(…), via=[HERE]).then().then_passed_over(1)

Events and firings go the way that a worker's go. What was kept is encoded, and decoded again, behind each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from annals.agents.reacting.processes import Processes
from annals.agents.reading.found import JournalEvent
from annals.agents.testing.kinds import named_or_all
from annals.schemas.canonical import encode
from annals.schemas.cid import cid_of
from annals.schemas.reaction_rows import TimerRow, parse_row_key
from annals.schemas.values.moments import moment_of, recorded_at
from annals.schemas.wire.via import ANNALS_VIA
from annals.topics.headers import EVENT_VIA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.reacting.ports import OutgoingCommand
    from annals.agents.reactions.reaction import Reaction
    from annals.schemas.commands import NewCommand
    from annals.schemas.messages import Message

RECORDED_AT: Final = "2026-01-01T00:00:00.000000Z"
MOST_FIRINGS: Final = 1_000
HERE: Final = "here"
"""The id of the deployment that reacts."""


class GivenReaction:
    """A reaction, and what it has seen.

    commands: of the last step; rows: what it keeps, as its topic has it; passed_over: events of another deployment, of
    the last step, that had come through this one.
    """

    def __init__(self, reaction: Reaction[Any], deciders: Mapping[str, Decider[Any]] | None = None) -> None:
        """Begin with nothing."""
        self.reaction = reaction
        self.rows: dict[bytes, bytes] = {}
        self.commands: list[OutgoingCommand] = []
        self.passed_over = 0
        self._decider = named_or_all(deciders)[reaction.kind]
        self._versions: dict[str, int] = {}
        self._offset = 0

    def on(
        self,
        aggregate_id: str,
        *messages: Message,
        recorded: str = RECORDED_AT,
        correlation_id: str = "c-1",
        via: Sequence[str] = (),
    ) -> GivenReaction:
        """Have events of an aggregate occur, recorded at a time; what they lead to together is the last step's."""
        self.commands, self.passed_over = [], 0
        for message in messages:
            self.take([self._event(aggregate_id, message, recorded, correlation_id, via)])
        return self

    def at(self, time: str) -> GivenReaction:
        """Have the clock come to a time: what is due fires."""
        self.commands, self.passed_over = [], 0
        processes = self._processes()
        processes.fire(recorded_at(moment_of(time)), MOST_FIRINGS)
        self._keep(processes)
        return self

    def then(self, *expected: NewCommand) -> GivenReaction:
        """Check that the last step has sent exactly these commands, ids and causes aside."""
        found = [_shown(each.kind, each.value) for each in self.commands]
        wanted = [_shown(each.kind, each.with_id("any").value()) for each in expected]
        if found != wanted:
            raise AssertionError(f"{self.reaction.name} sends\n{found}\nnot\n{wanted}")
        return self

    def then_via(self, *deployments: str) -> GivenReaction:
        """Check that all commands of the last step name just these deployments that their cause came through."""
        found = {dict(each.headers).get(ANNALS_VIA, b"").decode() for each in self.commands}
        if found != {",".join(deployments)}:
            raise AssertionError(f"{self.reaction.name} sends commands that came through {found}, not {deployments}")
        return self

    def then_passed_over(self, events: int) -> GivenReaction:
        """Check how many events of the last step were passed over, since they had come through this deployment."""
        if self.passed_over != events:
            raise AssertionError(f"{self.reaction.name} passes over {self.passed_over} events, not {events}")
        return self

    def then_timers(self, expected: Mapping[tuple[str, ...], str]) -> GivenReaction:
        """Check that exactly these timers are set: aggregate id and name (with a key of one's own between) -> due."""
        found = {}
        for key, value in self.rows.items():
            process, name = parse_row_key(key)
            if name is not None:
                told = (process.aggregate_id, *([process.key] if process.key else []), name)
                found[told] = msgspec.json.decode(value, type=TimerRow).due
        wanted = {key: recorded_at(moment_of(due)) for key, due in expected.items()}
        if found != wanted:
            raise AssertionError(f"{self.reaction.name} has the timers\n{found}\nnot\n{wanted}")
        return self

    def then_over(self) -> GivenReaction:
        """Check that no process is left, nor a timer."""
        if self.rows:
            raise AssertionError(f"{self.reaction.name} keeps {sorted(self.rows)}")
        return self

    def ids(self) -> list[str]:
        """Return the ids of the last step's commands."""
        return [msgspec.json.decode(each.value)["id"] for each in self.commands]

    def take(self, events: Sequence[JournalEvent], *, is_quiet: bool = False) -> None:
        """React to events in one batch."""
        processes = self._processes()
        for event in events:
            processes.take(event, is_quiet=is_quiet)
        self._keep(processes)

    def events(self, said: Sequence[tuple[str, Message, str]]) -> list[JournalEvent]:
        """Return events as a journal has them: aggregate id, message and `recorded_at` of each."""
        return [self._event(aggregate_id, message, recorded, "c-1") for aggregate_id, message, recorded in said]

    def _processes(self) -> Processes:
        processes = Processes(self.reaction, self._decider, HERE)
        for key, value in self.rows.items():
            processes.load(key, value)
        return processes

    def _keep(self, processes: Processes) -> None:
        changes = processes.changes()
        self.commands += changes.commands
        self.passed_over += changes.come_round
        for key, value in changes.rows.items():
            self.rows.pop(key, None)
            if value is not None:
                self.rows[key] = value

    def _event(
        self, aggregate_id: str, message: Message, recorded: str, correlation_id: str, via: Sequence[str] = ()
    ) -> JournalEvent:
        version = self._versions[aggregate_id] = self._versions.get(aggregate_id, 0) + 1
        event = {
            "kind": self.reaction.kind,
            "aggregate_id": aggregate_id,
            "version": version,
            "type": self._decider.event_name(message),
            "schema_version": self._decider.schema_version(message),
            "recorded_at": recorded_at(moment_of(recorded)),
            "correlation_id": correlation_id,
            "data": msgspec.to_builtins(message),
        }
        block, self._offset = encode(event), self._offset + 1
        carried = [(EVENT_VIA, ",".join(via).encode())] if via else []
        return JournalEvent(self._offset - 1, event, block, cid_of(block), carried)


def given_reaction(reaction: Reaction[Any], deciders: Mapping[str, Decider[Any]] | None = None) -> GivenReaction:
    """Begin with a reaction that has seen nothing; deciders: by default all that are registered."""
    return GivenReaction(reaction, deciders)


def _shown(kind: str, value: bytes) -> dict[str, Any]:
    said = msgspec.json.decode(value)
    hidden = ("id", "correlation_id", "causation_id")
    return {"kind": kind, **{name: member for name, member in said.items() if name not in hidden}}
