"""A batch of commands, decided: for each its answer, in order, as the records of one transaction.

Later commands see what earlier ones of the batch changed, through the working set. Nothing here waits, and nothing is
final before the commit. The steps of a decision are listed in `decision_plan`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from annals.agents.defects import MOST_IN_A_ROW, Defect, defect_of, is_no_defect, stopped_by
from annals.agents.ports import Aggregate, Position, command_key
from annals.agents.writing.batches.answers import accepted_once, headers_of_outcome, value_of_outcome
from annals.agents.writing.batches.decision_plan import DecisionPlan, Limits, PlannedCommand, Setting
from annals.agents.writing.batches.evaluation import failed
from annals.agents.writing.batches.sealing import due_snapshot, sealed_events
from annals.schemas import outcome
from annals.schemas.values.moments import recorded_at, unix_ms
from annals.schemas.wire.dead_letter import INTERNAL_ERROR, TOO_LARGE, DeadLetter
from annals.schemas.wire.reading import read_commands
from annals.topics.encoded_headers import encode_with_more
from annals.topics.headers import dead_letter_headers, forwarded_headers
from annals.topics.wire import NO_TIMESTAMP, encode_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import CommandRecord, Record, Writes
    from annals.agents.writing.batches.sealing import Moment
    from annals.agents.writing.restore.collecting import Caused
    from annals.agents.writing.shard_id import ShardId

__all__ = ["Batch", "Limits", "Tally"]

PLAN_COMMANDS: Final = 64
PLAN_BYTES: Final = 65_536  # of larger commands fewer: between two plans somebody looks at the clock


class Tally:
    """What became of a batch, for metrics: counted here, told at once after the commit."""

    __slots__ = ("dead_lettered", "dead_letters", "defects", "events", "forwarded", "oversized", "statuses")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.statuses: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.dead_lettered: list[int] = []  # the offsets of dead letters
        self.defects: list[Defect] = []
        self.events = 0
        self.forwarded = 0
        self.oversized: list[str] = []
        """The aggregates whose snapshot was larger than its topic takes, and left out."""

    @property
    def others(self) -> int:
        """How many were answered by no outcome."""
        return self.forwarded + self.dead_letters.total()


class Batch:
    """Decides one batch of a shard's commands into the records of one transaction."""

    def __init__(
        self,
        decider: Decider[Any],
        working_set: WorkingSet,
        writes: Writes,
        place: ShardId,
        limits: Limits,
        now: datetime,
        journal_end: int,
        failed_in_a_row: int = 0,
        answered: Collection[int] = frozenset(),
        *,
        checks_states: bool = False,
    ) -> None:
        """Take the shard's parts, the decision time (UTC), and where the journal ends now.

        failed_in_a_row: how many commands before these failed by a defect; answered: the offsets of commands that have
        their copy or dead letter already; checks_states: whether the state that each command leads to is encoded for
        trial, because one of them has no encoding.
        """
        now_text, now_ms = recorded_at(now), unix_ms(now)
        self._setting = Setting(decider, working_set, place, limits, now)
        self._kind = place.kind.encode()
        self._moment: Moment = (now_text, now_text.encode(), now_ms)
        self._writes = writes
        self._single: list[Record] = []  # events of commands that caused one each, not yet written
        self._journal_end = journal_end
        self._answered = answered
        self._last_cid = b""
        self._checks_states = checks_states
        self._looks_at_states = checks_states or limits.snapshot_every > 0
        self._alone_until = 0
        self.failed_in_a_row = failed_in_a_row
        self.tally = Tally()
        self.next_offset = -1
        self.decided = 0
        self.caused: list[Caused] = []

    def position(self) -> Position | None:
        """Return where the journal will have been folded up to once this batch is committed; None without events."""
        if not self.tally.events:
            return None
        end = self._journal_end + self.tally.events
        return Position(end, end - 1, self._last_cid)

    def decide(self, records: Sequence[CommandRecord], is_late: Callable[[], bool] = lambda: False) -> None:
        """Decide records in order: all, or as many as there is time for, at least one.

        Raises:
            StoppedError: so many commands in a row failed by a defect that the shard must not go on; names the last.
                Those before it are decided.
        """
        at = 0
        while at < len(records):
            at += self._decide_some(records, at)
            self.decided = at
            self.next_offset = records[at - 1].offset + 1
            if is_late():
                return

    def _decide_some(self, records: Sequence[CommandRecord], at: int) -> int:
        """Decide some records from a place on, and return how many: by one plan, or if that fails the first alone."""
        if at >= self._alone_until:
            some = _some_of(records, at)
            plan, _ = self._planned(some)
            if plan is not None:
                taken, error = self._write(plan)
                if error is None or taken:
                    return taken
            else:
                self._alone_until = at + len(some)  # which of them cannot be planned, each alone will tell
        self._decide_alone(records[at])
        return 1

    def _planned(self, records: Sequence[CommandRecord]) -> tuple[DecisionPlan | None, BaseException | None]:
        try:
            return DecisionPlan(self._setting, records), None
        except BaseException as error:  # whatever the code of an aggregate did not foresee
            if is_no_defect(error):
                raise
            return None, error

    def _decide_alone(self, record: CommandRecord) -> None:
        """Decide one record; what its aggregate's code raises is its own answer."""
        self._touch_store(record)
        plan, error = self._planned([record])
        if plan is not None:
            _, error = self._write(plan)
        if error is not None:
            self._reject(record, error)

    def _touch_store(self, record: CommandRecord) -> None:
        """Look up what the record's command needs: what the store raises is no defect of a command."""
        planned = self._ask(record)
        if planned is not None:
            self._setting.working_set.aggregate(planned.key)
            self._setting.working_set.command(planned.dedup_key)

    def _ask(self, record: CommandRecord) -> PlannedCommand | None:
        """Return the record's command and where its aggregate stands, None if it cannot even be read."""
        try:
            command = read_commands([record], self._setting.limits.command_bytes)[0]
        except Exception as error:  # a defect of reading: then nobody can be answered
            if is_no_defect(error):
                raise
            return None
        if isinstance(command, DeadLetter):
            return None
        key, command_id = command.aggregate_id.encode(), command.id.encode()
        return PlannedCommand(
            0, record, key, command, command_id, command_key(key, command_id), self._setting.working_set.absent
        )

    def _reject(self, record: CommandRecord, error: BaseException) -> None:
        """Answer a command that failed, and keep it as a dead letter; or stop, if it is one too many in a row."""
        setting, planned = self._setting, self._ask(record)
        if planned is not None:
            planned.aggregate = setting.working_set.aggregate(planned.key)
            planned.earlier_events = (
                setting.working_set.command(planned.dedup_key) if planned.aggregate.version else None
            )
        if planned is None or planned.earlier_events is None:
            defect = defect_of(record.offset, error)
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= MOST_IN_A_ROW:
                raise stopped_by(setting.place.kind, setting.place.topic, setting.place.partition, defect) from error
            self.tally.defects.append(defect)
            self._dead_letter(record, INTERNAL_ERROR, f"deciding it failed with {defect.error}")
        if planned is not None:
            planned.rejection = failed()
            status, value = value_of_outcome(planned, setting.place.kind)
            end = self._journal_end + (self.tally.events + 1 if self.tally.events else 0)
            self._writes.add_outcomes([(planned.key, value, self._moment[2], headers_of_outcome(planned, end))])
            self.tally.statuses[status] += 1

    def _write(self, plan: DecisionPlan) -> tuple[int, BaseException | None]:
        """Seal and answer what a plan has, in order, and record it in the working set.

        Return how many of its records are done, and what went wrong with the one behind them, if anything did.
        """
        setting, moment, tally, base = self._setting, self._moment, self.tally, self._journal_end
        kind = setting.place.kind
        taken, error = plan.taken, None
        sealed: dict[bytes, Aggregate] = {}
        outcomes: list[Record] = []
        statuses: list[str] = []
        for planned in plan.commands:
            if planned.key in sealed:
                planned.aggregate = sealed[planned.key]
            try:
                records = sealed_events(setting, moment, planned) if planned.events else ()
                if planned.events and not records:
                    taken = planned.index + 1  # what follows was decided on a state that will not be
                if len(records) == 1:
                    status, value = outcome.ACCEPTED, accepted_once(planned, self._kind)
                else:
                    status, value = value_of_outcome(planned, kind)
                # where the journal will end once this is committed: behind the events so far and the transaction's
                # marker
                events = tally.events + len(records)
                headers = headers_of_outcome(planned, base + events + 1 if events else base)
                snapshot = self._snapshot(planned, base + events - 1) if records and self._looks_at_states else None
            except BaseException as wrong:  # what has no encoding: then the command is tried alone
                if is_no_defect(wrong):
                    raise
                taken, error = planned.index, wrong
                break
            if records:
                self._add(planned, records, sealed, snapshot)
            outcomes.append((planned.key, value, NO_TIMESTAMP, headers))
            statuses.append(status)
            if taken <= planned.index + 1:
                break
        self._flush()
        self._writes.add_outcomes(outcomes)
        tally.statuses.update(statuses)
        if statuses:
            self.failed_in_a_row = 0
        for index, record, key, home in plan.forwarded:
            if index < taken and record.offset not in self._answered:
                self._forward(record, key, home)
        for index, record, reason, message in plan.dead_lettered:
            if index < taken and record.offset not in self._answered:
                self._dead_letter(record, reason, message)
        return taken, error

    def _add(
        self, planned: PlannedCommand, records: Sequence[Record], sealed: dict[bytes, Aggregate], snapshot: bytes | None
    ) -> None:
        """Take what a command caused: what can raise because of it is behind it."""
        if len(records) == 1:
            self._single += records
        else:
            self._flush()
            self._writes.add_together(records)
        if snapshot is not None and self._writes.add_snapshot(planned.key, snapshot, NO_TIMESTAMP):
            self.tally.oversized.append(planned.command.aggregate_id)
        after = planned.after
        self.caused.append((planned.key, planned.dedup_key, self._journal_end + self.tally.events, len(records)))
        sealed[planned.key] = after
        self._setting.working_set.record(planned.key, after, planned.dedup_key, planned.sealed_events)
        self._last_cid = after.head or b""
        self.tally.events += len(records)

    def _flush(self) -> None:
        if self._single:
            self._writes.add_events(self._single)
            self._single = []

    def _snapshot(self, planned: PlannedCommand, offset: int) -> bytes | None:
        """Return the snapshot that is due, if one is; offset: where the last event will be."""
        if self._checks_states:
            self._setting.decider.encode_state(planned.after.state)
        return due_snapshot(self._setting, planned, offset)

    def _forward(self, record: CommandRecord, key: bytes, home: int) -> None:
        place = self._setting.place
        headers = encode_headers(forwarded_headers(record.headers, place.partition, record.offset))
        if self._writes.add_forward(home, key, record.value, NO_TIMESTAMP, headers):
            self.tally.forwarded += 1
        else:
            self._dead_letter(record, TOO_LARGE, f"with its origin it is larger than {place.topic} takes")

    def _dead_letter(self, record: CommandRecord, reason: str, message: str) -> None:
        _, topic, partition, _ = self._setting.place
        ours = dead_letter_headers((), reason, message, topic, partition, record.offset, record.timestamp)
        headers = encode_with_more(record.headers, ours)
        self._writes.add_dead_letter(record.key, record.value, NO_TIMESTAMP, headers)
        self.tally.dead_letters[reason] += 1
        self.tally.dead_lettered.append(record.offset)


def _some_of(records: Sequence[CommandRecord], at: int) -> Sequence[CommandRecord]:
    """Return the records of one plan: so many, or so many bytes, as are decided in a moment."""
    some = records[at : at + PLAN_COMMANDS]
    size = sum([len(record.value or b"") for record in some])
    while size > PLAN_BYTES and len(some) > 1:
        some, size = some[: len(some) // 2], sum([len(record.value or b"") for record in some[: len(some) // 2]])
    return some
