"""The plan for a few dozen commands: all are read, then all are decided. `Batch` seals their events and answers them.

Phase by phase, a few dozen at a time, code and data stay in the processor's caches (docs/adr/0010-plans.md). Planning
has no effect. A command that expects a head which an earlier command of the plan will make ends the plan: it is planned
again once that event is sealed.

The steps of one decision, in the order that the contract prescribes (the first that applies answers):

1. Read the record: what cannot be read becomes a dead letter.
2. Route it: what belongs to another partition is forwarded.
3. Deduplicate: the command's id is looked up among the events of its aggregate.
4. Evaluate: type, data, expected version and head, what is already true, the lifecycle, the rules.
5. Evolve: the state that the next command of the plan meets.

`Batch` goes on: 6. seal the events, 7. answer, and the shard: 8. commit, 9. fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from annals.agents.ports import Aggregate, CommandEvents, CommandRecord, command_key
from annals.agents.writing.batches.evaluation import Rejection, evaluate, parsed
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
    from annals.agents.writing.shard_id import ShardId


class Limits(NamedTuple):
    """What bounds a command and what it causes.

    events_per_aggregate: 0 for no bound; snapshot_every: an aggregate's snapshot is written each time its version
    passes a multiple of this, 0 for never.
    """

    command_bytes: int
    event_batch_bytes: int
    events_per_aggregate: int
    snapshot_every: int = 0


class Setting(NamedTuple):
    """What all commands of a batch have in common; now: the decision time (UTC)."""

    decider: Decider[Any]
    working_set: WorkingSet
    place: ShardId
    limits: Limits
    now: datetime


class PlannedCommand(Struct, gc=False):
    """One command that is decided here, and what becomes of it.

    index: its place in the plan; dedup_key: see `ports.command_key`; aggregate: where its aggregate stood; state: after
    `events`; earlier_events: those of the same command, decided before. Once its events are sealed, sealed_events:
    these; head: the CID of the last one as text; after: where its aggregate stands then.
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
    after: Any = None


class DecisionPlan:
    """The plan for a few dozen records.

    taken: how many of the records it is for; commands: those that are decided here; dead_lettered: (index, record,
    reason, message) of those that cannot be read; forwarded: (index, record, key, partition) of those that belong to
    another partition.
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
        for index, (record, command) in enumerate(zip(records, commands, strict=True)):  # 1. read
            if isinstance(command, DeadLetter):
                self.dead_lettered.append((index, record, command.reason, command.message))
                continue
            key = record.key
            if key is None:
                key = command.aggregate_id.encode()
            home = partition_of(key, partitions)  # 2. route
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
        evolve = decider.evolve
        typed = [parsed(decider, planned.command) for planned in planned_commands]
        standing = {key: working_set.aggregate(key) for key in {planned.key: None for planned in planned_commands}}
        # An aggregate that is absent has seen none. All at once: the more ids there are, the longer one takes alone.
        stored = working_set.commands([each.dedup_key for each in planned_commands if standing[each.key].version])
        earlier: dict[bytes, PlannedCommand] = {}
        for planned, command in zip(planned_commands, typed, strict=True):
            key = planned.key
            current = planned.aggregate = standing[key]
            dedup_key = planned.dedup_key  # 3. deduplicate
            planned.earlier_events = earlier[dedup_key] if dedup_key in earlier else stored.get(dedup_key)
            if planned.earlier_events is not None:
                continue
            found = evaluate(decider, planned.command, command, current, now)  # 4. evaluate
            if not found:
                continue
            if isinstance(found, Rejection):
                planned.rejection = found
                continue
            state = current.state
            for event in found:  # 5. evolve
                state = evolve(state, event)
            planned.state = state
            planned.events = found
            # without its head, which the seal makes: nobody asks for it before
            standing[key] = Aggregate(current.version + len(found), None, current.recorded_at, state)
            earlier[planned.dedup_key] = planned
