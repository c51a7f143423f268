"""A few dozen commands on their way to their answers: all are read, then all are decided; `Batch` seals and answers.

One command at a time would touch the code and the data of each phase anew for each command; a few dozen together stay
in the processor's caches (docs/adr/0010-chunks.md). Nothing here has an effect. Where a command needs what only an
earlier one's seal can tell, its head, the chunk ends before it, and the rest is planned anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from annals.agents.ports import Aggregate, CommandEvents, CommandRecord, command_key
from annals.agents.writing.evaluation import Rejection, parsed, verdict
from annals.schemas.envelope import Command
from annals.schemas.messages import Message
from annals.schemas.wire.dead_letter import MISROUTED, DeadLetter
from annals.schemas.wire.reading import read_commands
from annals.topics.headers import origin_of
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from datetime import datetime

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet


class Limits(NamedTuple):
    """What bounds a command and what it causes.

    events_per_aggregate: 0 for no bound; snapshot_every: an aggregate's snapshot is written each time its version
    passes a multiple of this, 0 for never.
    """

    command_bytes: int
    event_batch_bytes: int
    events_per_aggregate: int
    snapshot_every: int = 0


class Place(NamedTuple):
    """Which shard this is."""

    kind: str
    topic: str
    partition: int
    partitions: int


class Setting(NamedTuple):
    """What all commands of a batch have in common; now: the decision time (UTC)."""

    decider: Decider[Any]
    working_set: WorkingSet
    place: Place
    limits: Limits
    now: datetime


class PlannedCommand(Struct, gc=False):
    """One command that is decided here, and what becomes of it.

    index: its place in the chunk; known: its `ports.command_key`; before: where its aggregate stood; state: after
    `events`; told: the events of the same command, answered before. Once its events are sealed, caused: these; head:
    the CID of the last one as text.
    """

    index: int
    record: CommandRecord
    key: bytes
    command: Command
    command_id: bytes
    dedup_key: bytes
    aggregate: Aggregate
    state: Any = None
    events: Sequence[Message] = ()
    rejection: Rejection | None = None
    earlier_events: CommandEvents | PlannedCommand | None = None
    sealed_events: CommandEvents = (0, ())
    head: bytes = b""


class DecisionPlan:
    """The plan for a few dozen records.

    taken: how many of the records it is for; asks: the commands that are decided here; buried: (index, record, reason,
    message) of those that cannot be read; forwarded: (index, record, key, partition) of those that belong elsewhere.
    """

    def __init__(self, setting: Setting, records: Sequence[CommandRecord]) -> None:
        """Plan as many of the records as can be planned together, one at the least."""
        self._setting = setting
        self.taken = len(records)
        self.commands: list[PlannedCommand] = []
        self.dead_lettered: list[tuple[int, CommandRecord, str, str]] = []
        self.forwarded: list[tuple[int, CommandRecord, bytes, int]] = []
        self._read(records)
        self._decide()

    def _read(self, records: Sequence[CommandRecord]) -> None:
        setting, planned_commands = self._setting, self.commands
        _, _, partition, partitions = setting.place
        absent = setting.working_set.absent
        touched: set[bytes] = set()
        commands = read_commands(records, setting.limits.command_bytes)
        for index, (record, command) in enumerate(zip(records, commands, strict=True)):
            if isinstance(command, DeadLetter):
                self.dead_lettered.append((index, record, command.reason, command.message))
                continue
            key = record.key
            if key is None:
                key = command.aggregate_id.encode()
            home = partition_of(key, partitions)
            if home != partition:
                self._misplaced(index, record, key, home)
                continue
            if command.expected_head is not None and key in touched:
                self.taken = index  # the head that it is compared with must be sealed first
                return
            touched.add(key)
            command_id = command.id.encode()
            planned_commands.append(
                PlannedCommand(index, record, key, command, command_id, command_key(key, command_id), absent)
            )

    def _misplaced(self, index: int, record: CommandRecord, key: bytes, home: int) -> None:
        if origin_of(record.headers) is None:
            self.forwarded.append((index, record, key, home))
        else:
            message = f"forwarded already, and still not in partition {home}, where its key belongs"
            self.dead_lettered.append((index, record, MISROUTED, message))

    def _decide(self) -> None:
        """Decide in order, each on the state that those before it leave."""
        setting, planned_commands = self._setting, self.commands
        decider, working_set, now = setting.decider, setting.working_set, setting.now
        evolve, aggregate, stored_events = decider.evolve, working_set.aggregate, working_set.command
        typed = [parsed(decider, planned.command) for planned in planned_commands]
        standing: dict[bytes, Aggregate] = {}
        earlier: dict[bytes, PlannedCommand] = {}
        for planned, command in zip(planned_commands, typed, strict=True):
            key = planned.key
            current = standing[key] if key in standing else aggregate(key)
            version = current.version
            planned.aggregate = current
            if version:
                dedup_key = planned.dedup_key
                planned.earlier_events = earlier[dedup_key] if dedup_key in earlier else stored_events(dedup_key)
                if planned.earlier_events is not None:
                    continue
            found = verdict(decider, planned.command, command, current, now)
            if not found:
                continue
            if isinstance(found, Rejection):
                planned.rejection = found
                continue
            state = current.state
            for event in found:
                state = evolve(state, event)
            planned.state = state
            planned.events = found
            # without its head, which the seal makes: nobody asks for it before
            standing[key] = Aggregate(version + len(found), None, current.recorded_at, state)
            earlier[planned.dedup_key] = planned
