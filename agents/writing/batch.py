"""A batch of commands, decided: for each its answer, in order, as the records of one transaction.

Later commands see what earlier ones of the batch changed, through the ledger. Nothing here waits, and nothing here is
lasting: the commit makes it so, or nothing of it has happened.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from annals.agents.ports import Aggregate, Position, StoppedError
from annals.agents.writing.answers import accepted_once, headers_of_outcome, value_of_outcome
from annals.agents.writing.decision_plan import DecisionPlan, Limits, Place, Setting
from annals.agents.writing.evaluation import full, oversize
from annals.schemas import outcome
from annals.schemas.chain import seal
from annals.schemas.cid import cid_text
from annals.schemas.snapshot import Snapshot, encode_snapshot
from annals.schemas.values.moments import recorded_at
from annals.schemas.wire.dead_letter import TOO_LARGE
from annals.topics.headers import dead_letter_headers, forwarded_headers
from annals.topics.wire import encode_headers, encoded_event_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import CommandRecord, Record, Writes
    from annals.agents.writing.decision_plan import PlannedCommand

    Moment = tuple[str, bytes, int]  # as `recorded_at`, the same in UTF-8, and in milliseconds

__all__ = ["Batch", "Limits", "Place", "Tally"]

PLAN_COMMANDS: Final = 64
RECORD_BYTES: Final = 100  # a record batch of one record, beside its key, value and headers: an upper bound


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
        working_set: WorkingSet,
        writes: Writes,
        place: Place,
        limits: Limits,
        now: datetime,
        journal_end: int,
    ) -> None:
        """Take the shard's parts, the decision time (UTC), and where the journal ends now."""
        now_text, now_ms = recorded_at(now), int(now.timestamp() * 1000)
        self._setting = Setting(decider, working_set, place, limits, now)
        self._kind = place.kind.encode()
        self._moment: Moment = (now_text, now_text.encode(), now_ms)
        self._writes = writes
        self._single: list[Record] = []  # events of commands that caused one each, not yet written
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
            StoppedError: a command cannot be answered because of a defect in its decider; names the command. Those
                before it are decided.
        """
        at = 0
        while at < len(records):
            plan = self._planned(records[at : at + PLAN_COMMANDS])
            taken, error = self._write(plan)
            at += taken
            if taken:
                self.next_offset = records[at - 1].offset + 1
            if error is not None:
                raise self._defect(records[at], error) from error

    def _planned(self, records: Sequence[CommandRecord]) -> DecisionPlan:
        try:
            return DecisionPlan(self._setting, records)
        except Exception as error:
            if len(records) > 1:  # plan one by one, up to the one that cannot be
                return self._planned(records[:1])
            raise self._defect(records[0], error) from error

    def _defect(self, record: CommandRecord, error: Exception) -> StoppedError:
        kind, topic, partition, _ = self._setting.place
        return StoppedError(
            f"{topic}-{partition} offset {record.offset}: deciding a command of {kind} failed with "
            f"{type(error).__name__}. This is a defect in the code of the aggregate or of the worker; the "
            f"command is kept, and is decided by a release that can."
        )

    def _write(self, plan: DecisionPlan) -> tuple[int, Exception | None]:
        """Seal and answer what a chunk plans, in order, and let the ledger know.

        Return how many of its records are done, and what went wrong with the one behind them, if anything did.
        """
        kind, now_ms, tally, base = self._setting.place.kind, self._moment[2], self.tally, self._journal_end
        taken, failed = plan.taken, None
        sealed: dict[bytes, Aggregate] = {}
        outcomes: list[Record] = []
        statuses: list[str] = []
        for planned in plan.commands:
            if planned.key in sealed:
                planned.aggregate = sealed[planned.key]
            try:
                if planned.events and not self._record(planned, sealed):
                    taken = planned.index + 1  # what follows was decided on a state that will not be
                if len(planned.events) == 1 and planned.rejection is None:
                    status, value = outcome.ACCEPTED, accepted_once(planned, self._kind)
                else:
                    status, value = value_of_outcome(planned, kind)
            except Exception as error:  # noqa: BLE001 - what has no encoding: the caller names the command
                taken, failed = planned.index, error
                break
            # where the journal will end once this is committed: behind the events so far and the transaction's marker
            journal_end = base + tally.events + 1 if tally.events else base
            outcomes.append((planned.key, value, now_ms, headers_of_outcome(planned, journal_end)))
            statuses.append(status)
            if taken <= planned.index + 1:
                break
        self._flush()
        self._writes.add_outcomes(outcomes)
        tally.statuses.update(statuses)
        for index, record, key, home in plan.forwarded:
            if index < taken:
                self._forward(record, key, home)
        for index, record, reason, message in plan.dead_lettered:
            if index < taken:
                self._dead_letter(record, reason, message)
        return taken, failed

    def _record(self, planned: PlannedCommand, sealed: dict[bytes, Aggregate]) -> bool:
        """Seal the events of a command, each on the head before it; False: they do not fit, and it is rejected."""
        decider, working_set, _, limits, _ = self._setting
        kind, versions, event_data = decider.kind, decider.versions, decider.event_data
        command, key, aggregate, command_id = planned.command, planned.key, planned.aggregate, planned.command_id
        version, head = aggregate.version, aggregate.head
        moment, time, ms = self._moment
        if aggregate.recorded_at > moment:  # the clock may step back, a chain's times never do
            moment, time, ms = _moment_of(aggregate.recorded_at)
        aggregate_id, correlation_id, causation_id, actor = (
            command.aggregate_id,
            command.correlation_id,
            command.causation_id,
            command.actor,
        )
        correlation = command_id if correlation_id == command.id else correlation_id.encode()
        records: list[Record] = []
        sealed_events: list[tuple[bytes, str]] = []
        needed = RECORD_BYTES
        for event in planned.events:
            version += 1
            type_ = type(event)
            name, schema_version = type_.__name__, versions[type_]
            block, head = seal(
                kind,
                aggregate_id,
                version,
                head,
                name,
                schema_version,
                moment,
                command.id,
                correlation_id,
                causation_id,
                actor,
                event_data(event),
            )
            text = cid_text(head).encode()
            headers = encoded_event_headers(
                kind,
                key,
                version,
                name,
                schema_version,
                time,
                text,
                command_id,
                correlation,
                causation_id,
                actor,
                command.traceparent,
                command.tracestate,
            )
            records.append((key, block, ms, headers))
            sealed_events.append((head, name))
            needed += len(key) + len(block) + len(headers) + RECORD_BYTES
        if needed > limits.event_batch_bytes:
            planned.rejection = oversize(needed, limits.event_batch_bytes)
            return False
        if 0 < limits.events_per_aggregate < version:
            planned.rejection = full(version, limits.events_per_aggregate)
            return False
        if len(records) == 1:
            self._single += records
        else:
            self._flush()
            self._writes.add_together(records)
        sealed[key] = after = Aggregate(version, head, moment, planned.state)
        planned.sealed_events, planned.head = (aggregate.version + 1, sealed_events), text
        working_set.record(key, after, planned.dedup_key, planned.sealed_events)
        self._last_cid = sealed_events[-1][0]
        self.tally.events += len(records)
        every = limits.snapshot_every
        if every and aggregate.version // every != version // every:
            self._snapshot(planned, after)
        return True

    def _flush(self) -> None:
        if self._single:
            self._writes.add_events(self._single)
            self._single = []

    def _snapshot(self, planned: PlannedCommand, after: Aggregate) -> None:
        decider = self._setting.decider
        snapshot = Snapshot(
            decider.kind,
            planned.command.aggregate_id,
            after.version,
            after.head or b"",
            decider.state_version,
            decider.encode_state(after.state),
        )
        # The broker's time: were our clock an hour ahead, it would refuse the snapshot, and the events with it.
        self._writes.add_snapshot(planned.key, encode_snapshot(snapshot), planned.record.timestamp)

    def _forward(self, record: CommandRecord, key: bytes, home: int) -> None:
        place = self._setting.place
        headers = encode_headers(forwarded_headers(record.headers, place.partition, record.offset))
        if self._writes.add_forward(home, key, record.value, self._moment[2], headers):
            self.tally.forwarded += 1
        else:
            self._dead_letter(record, TOO_LARGE, f"with its origin it is larger than {place.topic} takes")

    def _dead_letter(self, record: CommandRecord, reason: str, message: str) -> None:
        _, topic, partition, _ = self._setting.place
        headers = encode_headers(
            dead_letter_headers(record.headers, reason, message, topic, partition, record.offset, record.timestamp)
        )
        self._writes.add_dead_letter(record.key, record.value, self._moment[2], headers)
        self.tally.dead_letters[reason] += 1


def _moment_of(text: str) -> Moment:
    return text, text.encode(), int(datetime.fromisoformat(text).timestamp() * 1000)
