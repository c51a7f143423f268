"""A batch of commands, decided: for each its answer, in order, as the records of one transaction.

For each command: read it, route it, recognise it, validate it, check what it expects, decide, seal. Later commands see
what earlier ones of the batch changed, through the ledger. Nothing here waits, and nothing here is lasting.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from agents.ports import Aggregate, Position, StoppedError, command_key
from agents.refusals import NotOpen, Refused
from schemas import outcome
from schemas.chain import seal
from schemas.cid import cid_text
from schemas.dead_letter import DeadLetter
from schemas.moments import recorded_at
from schemas.reading import read_command
from topics.headers import dead_letter_headers, forwarded_headers, origin_of, outcome_headers
from topics.keys import partition_of
from topics.wire import encode_headers, encoded_event_headers, encoded_outcome_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.decider import Decider
    from agents.ledger import Ledger
    from agents.ports import CommandRecord, Writes
    from schemas.envelope import Command


class Limits(NamedTuple):
    """What bounds a command and what it causes; 0 for an aggregate without bound."""

    command_bytes: int
    event_batch_bytes: int
    events_per_aggregate: int


class Place(NamedTuple):
    """Which shard this is."""

    kind: str
    topic: str
    partition: int
    partitions: int


class Tally:
    """What became of a batch, for metrics: counted here, told at once after the commit."""

    __slots__ = ("dead_letters", "events", "forwarded", "statuses")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.statuses: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.events = 0
        self.forwarded = 0


class Batch:
    """Decides one batch of a shard's commands into the records of one transaction."""

    def __init__(
        self,
        decider: Decider[Any],
        ledger: Ledger,
        writes: Writes,
        place: Place,
        limits: Limits,
        now: datetime,
        journal_end: int,
    ) -> None:
        """Take the shard's parts, the decision time (UTC), and where the journal ends now."""
        self._decider = decider
        self._ledger = ledger
        self._writes = writes
        self._place = place
        self._kind = place.kind.encode()
        self._limits = limits
        self._now = now
        self._now_ms = int(now.timestamp() * 1000)
        self._recorded_at = recorded_at(now)
        self._journal_end = journal_end
        self._last_cid = b""
        self.tally = Tally()
        self.next_offset = -1

    def position(self) -> Position | None:
        """Return where the journal will have been folded up to once this batch is committed; None without events."""
        if not self.tally.events:
            return None
        end = self._journal_end + self.tally.events
        return Position(end, end - 1, self._last_cid)

    def decide(self, records: Sequence[CommandRecord]) -> None:
        """Decide all records, in order.

        Raises:
            StoppedError: a command cannot be answered because of a defect in its decider; names the command.
        """
        for record in records:
            try:
                self._one(record)
            except (StoppedError, MemoryError):
                raise
            except Exception as error:
                kind, topic, partition, _ = self._place
                raise StoppedError(
                    f"{topic}-{partition} offset {record.offset}: deciding a command of {kind} failed with "
                    f"{type(error).__name__}. This is a defect in the code of the aggregate or of the worker; the "
                    f"command is kept, and is decided by a release that can."
                ) from error
            self.next_offset = record.offset + 1

    def _one(self, record: CommandRecord) -> None:
        key, ledger, place = record.key, self._ledger, self._place
        command = read_command(key, record.value, record.headers, self._limits.command_bytes)
        if isinstance(command, DeadLetter):
            self._bury(record, command.reason, command.message)
            return
        if key is None:
            key = command.aggregate_id.encode()
        home = partition_of(key, place.partitions)
        if home != place.partition:
            self._forward(record, key, home)
            return
        current = ledger.aggregate(key)
        if current.version:
            known = ledger.command(command_key(key, command.id.encode()))
            if known is not None:
                self._repeat(record, key, command, known[0], known[1])
                return
        self._decide(record, key, command, current)

    def _decide(self, record: CommandRecord, key: bytes, command: Command, current: Aggregate) -> None:
        decider = self._decider
        if command.type is not None and command.type not in decider.commands:
            message = f"{self._place.kind} has no command {command.type[:100]!r}"
            self._reject(
                record, key, command, current, outcome.UNKNOWN_COMMAND, message, outcome.unknown_details(command.type)
            )
            return
        if command.errors or command.type is None or command.data is None:
            self._invalid(record, key, command, current, command.errors)
            return
        typed = decider.parse(command.type, command.data)
        if isinstance(typed, list):
            self._invalid(record, key, command, current, typed)
            return
        expected = command.expected_version
        if expected != "any" and not (current.version >= 1 if expected == "exists" else current.version == expected):
            message = f"the aggregate is at version {current.version}, the command expects {expected}"
            details = outcome.version_details(expected, current.version)
            self._reject(record, key, command, current, outcome.VERSION_CONFLICT, message, details)
            return
        if command.expected_head is not None and command.expected_head != current.head:
            details = outcome.head_details(command.expected_head, current.head)
            message = "the aggregate's last event is another one than the command expects"
            self._reject(record, key, command, current, outcome.HEAD_CONFLICT, message, details)
            return
        try:
            events = decider.decide(typed, current.state, self._now, command.aggregate_id)
        except NotOpen as refusal:
            details = outcome.transition_details(refusal.status, command.type)
            self._reject(record, key, command, current, outcome.INVALID_TRANSITION, refusal.message, details)
        except Refused as refusal:
            details = outcome.rule_details(refusal.rule)
            self._reject(record, key, command, current, outcome.RULE_VIOLATED, refusal.message, details)
        else:
            self._record(record, key, command, current, events)

    def _record(
        self, record: CommandRecord, key: bytes, command: Command, current: Aggregate, events: Sequence[Any]
    ) -> None:
        """Seal the events, write them and the outcome, and take the new state."""
        if not events:
            self._accept(record, key, command, current.version, current.head, [])
            return
        moment, moment_ms = self._recorded_at, self._now_ms
        if moment < current.recorded_at:  # the clock stepped back: a chain's times never do
            moment = current.recorded_at
            moment_ms = int(datetime.fromisoformat(moment).timestamp() * 1000)
        sealed, written, after = self._sealed(key, command, current, events, moment, moment_ms)
        version, head = after.version, after.head
        most = self._limits.events_per_aggregate
        is_full = 0 < most < version
        if is_full:
            oversize = self._writes.measure_events(sealed)
        elif len(sealed) == 1:
            oversize = self._writes.add_event(*sealed[0])
        else:
            oversize = self._writes.add_events(sealed)
        if oversize:
            limit = self._limits.event_batch_bytes
            message = f"the command's events take {oversize} bytes in one batch, the topic takes {limit}"
            details = outcome.size_details(oversize, limit)
            self._reject(record, key, command, current, outcome.TOO_LARGE, message, details)
            return
        if is_full:
            message = f"the aggregate would have {version} events, its limit is {most}"
            self._reject(record, key, command, current, outcome.AGGREGATE_FULL, message, outcome.full_details(most))
            return
        first = current.version + 1
        self._ledger.record(key, after, command_key(key, command.id.encode()), (first, written))
        self._last_cid, name = written[-1]
        self.tally.events += len(sealed)
        if len(written) == 1:
            value = outcome.accepted_event(
                command.id, self._kind, command.aggregate_id, version, name.encode(), cid_text(self._last_cid).encode()
            )
            self._answer(record, key, command, outcome.ACCEPTED, value)
        else:
            listed = [(number, name, cid) for number, (cid, name) in enumerate(written, first)]
            self._accept(record, key, command, version, head, listed)

    def _sealed(
        self, key: bytes, command: Command, current: Aggregate, events: Sequence[Any], moment: str, moment_ms: int
    ) -> tuple[list[tuple[bytes, bytes, int, bytes]], list[tuple[bytes, str]], Aggregate]:
        """Return the events as records and as (CID, type), and where the aggregate stands after them."""
        decider, kind = self._decider, self._place.kind
        version, head, _, state = current
        command_id, correlation_id = command.id, command.correlation_id
        time, id_bytes = moment.encode(), command_id.encode()
        correlation = id_bytes if correlation_id == command_id else correlation_id.encode()
        sealed: list[tuple[bytes, bytes, int, bytes]] = []
        written: list[tuple[bytes, str]] = []
        for event in events:
            version += 1
            name, schema_version = decider.event_name(event), decider.schema_version(event)
            block, head = seal(
                kind,
                command.aggregate_id,
                version,
                head,
                name,
                schema_version,
                moment,
                command_id,
                correlation_id,
                command.causation_id,
                command.actor,
                decider.event_data(event),
            )
            headers = encoded_event_headers(
                kind,
                key,
                version,
                name,
                schema_version,
                time,
                cid_text(head).encode(),
                id_bytes,
                correlation,
                command.causation_id,
                command.actor,
                command.traceparent,
                command.tracestate,
            )
            sealed.append((key, block, moment_ms, headers))
            written.append((head, name))
            state = decider.evolve(state, event)
        return sealed, written, Aggregate(version, head, moment, state)

    def _accept(
        self,
        record: CommandRecord,
        key: bytes,
        command: Command,
        version: int,
        head: bytes | None,
        events: Sequence[tuple[int, str, bytes]],
    ) -> None:
        value = outcome.accepted(command.id, self._place.kind, command.aggregate_id, version, head, events)
        self._answer(record, key, command, outcome.ACCEPTED, value)

    def _repeat(
        self,
        record: CommandRecord,
        key: bytes,
        command: Command,
        first_version: int,
        events: Sequence[tuple[bytes, str]],
    ) -> None:
        listed = [(version, name, cid) for version, (cid, name) in enumerate(events, first_version)]
        version, _, head = listed[-1]
        value = outcome.duplicate(command.id, self._place.kind, command.aggregate_id, version, head, listed)
        self._answer(record, key, command, outcome.DUPLICATE, value)

    def _invalid(
        self, record: CommandRecord, key: bytes, command: Command, current: Aggregate, errors: Sequence[tuple[str, str]]
    ) -> None:
        first = ": ".join(errors[0]) if errors else "the command cannot be read"
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        details = outcome.invalid_details(errors)
        self._reject(record, key, command, current, outcome.INVALID_COMMAND, f"{first}{more}", details)

    def _reject(
        self,
        record: CommandRecord,
        key: bytes,
        command: Command,
        current: Aggregate,
        code: str,
        message: str,
        details: dict[str, Any],
    ) -> None:
        value = outcome.rejected(
            command.id, self._place.kind, command.aggregate_id, current.version, current.head, code, message, details
        )
        self._answer(record, key, command, outcome.REJECTED, value)

    def _answer(self, record: CommandRecord, key: bytes, command: Command, status: str, value: bytes) -> None:
        events = self.tally.events
        # where the journal will end once this is committed: behind the events so far and the transaction's marker
        journal_end = self._journal_end + events + 1 if events else self._journal_end
        origin = origin_of(record.headers)
        if origin is None and command.traceparent is None and command.tracestate is None:
            headers = encoded_outcome_headers(command.id.encode(), record.offset, journal_end)
        else:
            headers = encode_headers(
                outcome_headers(command.id, record.offset, journal_end, origin, command.traceparent, command.tracestate)
            )
        self._writes.add_outcome(key, value, self._now_ms, headers)
        self.tally.statuses[status] += 1

    def _forward(self, record: CommandRecord, key: bytes, home: int) -> None:
        if origin_of(record.headers) is not None:
            message = f"forwarded already, and still not in partition {home}, where its key belongs"
            self._bury(record, "misrouted", message)
            return
        headers = forwarded_headers(record.headers, self._place.partition, record.offset)
        if self._writes.add_forward(home, key, record.value, self._now_ms, encode_headers(headers)):
            self.tally.forwarded += 1
        else:
            self._bury(record, "too_large", f"with its origin it is larger than {self._place.topic} takes")

    def _bury(self, record: CommandRecord, reason: str, message: str) -> None:
        place = self._place
        headers = dead_letter_headers(
            record.headers, reason, message, place.topic, place.partition, record.offset, record.timestamp
        )
        self._writes.add_dead_letter(record.key, record.value, self._now_ms, encode_headers(headers))
        self.tally.dead_letters[reason] += 1
