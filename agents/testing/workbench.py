"""Every aggregate in memory: commands in, outcomes and sealed events out, for stories that go over several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.ports import Aggregate
from annals.agents.testing.kinds import named_or_all
from annals.agents.testing.specification import NOW
from annals.agents.writing.batches.evaluation import Rejection, evaluate, parsed
from annals.schemas import outcome
from annals.schemas.chain import seal
from annals.schemas.envelope import RecordedEvent
from annals.schemas.values.moments import recorded_at
from annals.schemas.wire.dead_letter import DeadLetter
from annals.schemas.wire.reading import read_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from annals.agents.deciding.decider import Decider
    from annals.schemas.commands import NewCommand
    from annals.schemas.envelope import Command
    from annals.schemas.messages import Message
    from annals.schemas.outcome import Outcome

MAX_COMMAND_BYTES: Final = 1_000_000


class Workbench:
    """Answers as a worker does, without Kafka: no partitions, no limits of topics, nothing lasts.

    now: the decision time; set it to let time go on.
    """

    def __init__(self, now: datetime = NOW, registry: Mapping[str, Decider[Any]] | None = None) -> None:
        """Begin with no aggregate at all; registry: by default every kind that is registered."""
        self.now = now
        self._registry = named_or_all(registry)
        self._standing: dict[tuple[str, str], Aggregate] = {}
        self._chains: dict[tuple[str, str], list[RecordedEvent]] = {}

    def events(self, kind: str, aggregate_id: str) -> list[RecordedEvent]:
        """The events of an aggregate, oldest first."""
        return list(self._chains.get((kind, aggregate_id), ()))

    def send(self, command: NewCommand) -> Outcome:
        """What becomes of a command.

        Raises:
            ValueError: it would be a dead letter.
            KeyError: there is no such kind.
        """
        decider = self._registry[command.kind]
        read = read_command(command.key(), command.value(), (), MAX_COMMAND_BYTES)
        if isinstance(read, DeadLetter):
            raise ValueError(f"{read.reason}: {read.message}")  # noqa: TRY004 -- it is the value that is wrong
        return outcome.decode_outcome(self._answer(decider, read))

    def _answer(self, decider: Decider[Any], command: Command) -> bytes:
        named = command.id, decider.kind, command.aggregate_id
        key = named[1:]
        chain = self._chains.get(key, [])
        told = [(event.version, event.type, event.cid) for event in chain if event.command_id == command.id]
        if told:
            return outcome.duplicate(*named, told[-1][0], told[-1][2], told)
        current = self._standing.get(key, Aggregate(0, None, "", decider.initial))
        found = evaluate(decider, command, parsed(decider, command), current, self.now)
        if isinstance(found, Rejection):
            return outcome.rejected(*named, current.version, current.head, *found)
        written = [self._record(decider, command, event) for event in found]
        after = self._standing.get(key, current)
        return outcome.accepted(*named, after.version, after.head, [(e.version, e.type, e.cid) for e in written])

    def _record(self, decider: Decider[Any], command: Command, event: Message) -> RecordedEvent:
        key = (decider.kind, command.aggregate_id)
        current = self._standing.get(key, Aggregate(0, None, "", decider.initial))
        time = max(recorded_at(self.now), current.recorded_at)
        sealed: dict[str, Any] = {
            "kind": decider.kind,
            "aggregate_id": command.aggregate_id,
            "version": current.version + 1,
            "previous": current.head,
            "type": decider.event_name(event),
            "schema_version": decider.schema_version(event),
            "recorded_at": time,
            "command_id": command.id,
            "correlation_id": command.correlation_id,
            "causation_id": command.causation_id,
            "actor": command.actor,
            "data": decider.event_data(event),
        }
        block, cid = seal(**sealed)
        recorded = RecordedEvent.of(sealed, block)
        self._chains.setdefault(key, []).append(recorded)
        self._standing[key] = Aggregate(current.version + 1, cid, time, decider.evolve(current.state, event))
        return recorded
