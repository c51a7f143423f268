"""A few dozen commands on their way to their answers, phase by phase: read all, decide all, seal all, answer all.

One command at a time would touch the code and the data of every phase anew for each command; a few dozen together stay
in the processor's caches and take half the time (measured: 22 µs a command instead of 45; in chunks of 500, 47 again).

The phases change nothing: what they find is in the chunk, and only `Batch` writes it. Where a command needs what only
an earlier one's seal can tell (its head, its size), the chunk ends there, and the rest is planned anew.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agents.ports import Aggregate, command_key
from agents.verdict import Rejection, full, oversize, parsed, verdict
from schemas.chain import seal
from schemas.cid import cid_text
from schemas.dead_letter import DeadLetter
from schemas.reading import read_command
from topics.headers import origin_of
from topics.keys import partition_of
from topics.wire import encoded_event_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.decider import Decider
    from agents.ledger import Ledger
    from agents.ports import CommandEvents, CommandRecord
    from schemas.envelope import Command
    from schemas.messages import Message

    Sealed = tuple[bytes, bytes, int, bytes]  # key, block, timestamp in ms, encoded headers

MISROUTED: Final = "misrouted"
RECORD_BYTES: Final = 100  # a record batch of one record, beside its key, value and headers: an upper bound


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
    """What all commands of a batch have in common; the decision time also as text and in milliseconds."""

    decider: Decider[Any]
    ledger: Ledger
    place: Place
    limits: Limits
    now: datetime
    now_text: str
    now_ms: int


class Ask:
    """One command that is decided here, and what becomes of it, filled phase by phase."""

    __slots__ = (
        "after",
        "before",
        "blocks",
        "command",
        "command_id",
        "events",
        "index",
        "key",
        "known",
        "record",
        "rejection",
        "sealed",
        "texts",
        "told",
        "written",
    )

    def __init__(self, index: int, record: CommandRecord, key: bytes, command: Command) -> None:
        """Begin with what was read: its place in the chunk, its record, its key and itself."""
        self.index = index
        self.record = record
        self.key = key
        self.command = command
        self.command_id = command.id.encode()
        self.known = command_key(key, self.command_id)
        self.before: Aggregate
        self.after: Aggregate | None = None
        self.events: Sequence[Message] = ()
        self.rejection: Rejection | None = None
        self.told: CommandEvents | Ask | None = None  # the events of the same command, answered before
        self.blocks: list[bytes] = []
        self.sealed: list[Sealed] = []
        self.written: list[tuple[bytes, str]] = []  # CID and type of each event
        self.texts: list[bytes] = []  # the CIDs as text


class Chunk:
    """The plan for a few dozen records.

    taken: how many of the records it is for; asks: the commands that are decided here; buried: (index, record, reason,
    message) of those that cannot be read; forwarded: (index, record, key, partition) of those that belong elsewhere.
    """

    def __init__(self, setting: Setting, records: Sequence[CommandRecord]) -> None:
        """Plan as many of the records as can be planned together, one at the least."""
        self._setting = setting
        self.taken = len(records)
        self.asks: list[Ask] = []
        self.buried: list[tuple[int, CommandRecord, str, str]] = []
        self.forwarded: list[tuple[int, CommandRecord, bytes, int]] = []
        self._read(records)
        self._decide()
        self._seal()
        self._describe()

    def _read(self, records: Sequence[CommandRecord]) -> None:
        place, limit = self._setting.place, self._setting.limits.command_bytes
        commands = [read_command(record.key, record.value, record.headers, limit) for record in records]
        touched: set[bytes] = set()
        for index, (record, command) in enumerate(zip(records, commands, strict=True)):
            if isinstance(command, DeadLetter):
                self.buried.append((index, record, command.reason, command.message))
                continue
            key = record.key if record.key is not None else command.aggregate_id.encode()
            home = partition_of(key, place.partitions)
            if home != place.partition:
                self._misplaced(index, record, key, home)
                continue
            if command.expected_head is not None and key in touched:
                self.taken = index  # the head that it is compared with must be sealed first
                return
            touched.add(key)
            self.asks.append(Ask(index, record, key, command))

    def _misplaced(self, index: int, record: CommandRecord, key: bytes, home: int) -> None:
        if origin_of(record.headers) is None:
            self.forwarded.append((index, record, key, home))
        else:
            message = f"forwarded already, and still not in partition {home}, where its key belongs"
            self.buried.append((index, record, MISROUTED, message))

    def _decide(self) -> None:
        setting, asks = self._setting, self.asks
        decider, ledger, now = setting.decider, setting.ledger, setting.now
        typed = [parsed(decider, ask.command) for ask in asks]
        standing: dict[bytes, Aggregate] = {}
        told: dict[bytes, Ask] = {}
        evolve = decider.evolve
        for ask, command in zip(asks, typed, strict=True):
            key = ask.key
            current = standing.get(key) or ledger.aggregate(key)
            ask.before = current
            if current.version:
                ask.told = told.get(ask.known) or ledger.command(ask.known)
                if ask.told is not None:
                    continue
            found = verdict(decider, ask.command, command, current, now)
            if isinstance(found, Rejection):
                ask.rejection = found
            elif found:
                state = current.state
                for event in found:
                    state = evolve(state, event)
                ask.events = found
                # without its head, which the seal makes: nobody asks for it before
                ask.after = standing[key] = Aggregate(current.version + len(found), None, current.recorded_at, state)
                told[ask.known] = ask

    def _seal(self) -> None:
        """Seal the events in order, each on the head of the one before."""
        decider, now_text = self._setting.decider, self._setting.now_text
        kind = decider.kind
        event_data, event_name, schema_version = decider.event_data, decider.event_name, decider.schema_version
        data = iter([event_data(event) for ask in self.asks for event in ask.events])
        sealed: dict[bytes, Aggregate] = {}
        for ask in self.asks:
            key = ask.key
            if key in sealed:
                ask.before = sealed[key]
            if ask.after is None:
                continue
            version, head, recorded_at, _ = ask.before
            recorded_at = max(now_text, recorded_at)  # the clock may step back, a chain's times never do
            command, blocks, written = ask.command, ask.blocks, ask.written
            for event in ask.events:
                version += 1
                name = event_name(event)
                block, head = seal(
                    kind,
                    command.aggregate_id,
                    version,
                    head,
                    name,
                    schema_version(event),
                    recorded_at,
                    command.id,
                    command.correlation_id,
                    command.causation_id,
                    command.actor,
                    next(data),
                )
                blocks.append(block)
                written.append((head, name))
            ask.after = sealed[key] = Aggregate(version, head, recorded_at, ask.after.state)

    def _describe(self) -> None:
        """Make the events' headers, and end the chunk at a command whose events do not fit."""
        setting = self._setting
        kind, schema_version, limits = setting.decider.kind, setting.decider.schema_version, setting.limits
        for ask in self.asks:
            after = ask.after
            if after is None:
                continue
            command, key, recorded_at = ask.command, ask.key, after.recorded_at
            command_id, correlation_id = ask.command_id, command.correlation_id
            time = recorded_at.encode()
            correlation = command_id if correlation_id == command.id else correlation_id.encode()
            ms = setting.now_ms
            if recorded_at != setting.now_text:
                ms = int(datetime.fromisoformat(recorded_at).timestamp() * 1000)
            version = ask.before.version
            for event, block, (cid, name) in zip(ask.events, ask.blocks, ask.written, strict=True):
                version += 1
                text = cid_text(cid).encode()
                headers = encoded_event_headers(
                    kind,
                    key,
                    version,
                    name,
                    schema_version(event),
                    time,
                    text,
                    command_id,
                    correlation,
                    command.causation_id,
                    command.actor,
                    command.traceparent,
                    command.tracestate,
                )
                ask.texts.append(text)
                ask.sealed.append((key, block, ms, headers))
            rejection = _unfit(ask, after, limits)
            if rejection is not None:
                ask.rejection, ask.after = rejection, None
                self._end_behind(ask)
                return

    def _end_behind(self, ask: Ask) -> None:
        """Leave out what follows: it was decided on a state that will not be."""
        self.taken = ask.index + 1
        self.asks = [each for each in self.asks if each.index <= ask.index]
        self.buried = [each for each in self.buried if each[0] <= ask.index]
        self.forwarded = [each for each in self.forwarded if each[0] <= ask.index]


def _unfit(ask: Ask, after: Aggregate, limits: Limits) -> Rejection | None:
    """Return why a command's events cannot be recorded; None when they can."""
    needed = RECORD_BYTES
    for key, block, _, headers in ask.sealed:
        needed += len(key) + len(block) + len(headers) + RECORD_BYTES
    if needed > limits.event_batch_bytes:
        return oversize(needed, limits.event_batch_bytes)
    if 0 < limits.events_per_aggregate < after.version:
        return full(after.version, limits.events_per_aggregate)
    return None
