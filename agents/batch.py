"""A batch of commands, decided: for each its answer, in order, as the records of one transaction.

Later commands see what earlier ones of the batch changed, through the ledger. Nothing here waits, and nothing here is
lasting: the commit makes it so, or nothing of it has happened.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agents.answers import accepted_once, told, told_headers
from agents.chunk import Chunk, Limits, Place, Setting
from agents.ports import Aggregate, Position, StoppedError
from agents.verdict import full, oversize
from schemas import outcome
from schemas.chain import seal
from schemas.cid import cid_text
from schemas.dead_letter import TOO_LARGE
from schemas.moments import recorded_at
from schemas.snapshot import Snapshot, encode_snapshot
from topics.headers import dead_letter_headers, forwarded_headers
from topics.wire import encode_headers, encoded_event_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.chunk import Ask
    from agents.decider import Decider
    from agents.ledger import Ledger
    from agents.ports import CommandRecord, Record, Writes

    Moment = tuple[str, bytes, int]  # as `recorded_at`, the same in UTF-8, and in milliseconds

__all__ = ["Batch", "Limits", "Place", "Tally"]

CHUNK: Final = 64
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
        ledger: Ledger,
        writes: Writes,
        place: Place,
        limits: Limits,
        now: datetime,
        journal_end: int,
    ) -> None:
        """Take the shard's parts, the decision time (UTC), and where the journal ends now."""
        now_text, now_ms = recorded_at(now), int(now.timestamp() * 1000)
        self._setting = Setting(decider, ledger, place, limits, now)
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
            chunk = self._planned(records[at : at + CHUNK])
            taken, error = self._write(chunk)
            at += taken
            if taken:
                self.next_offset = records[at - 1].offset + 1
            if error is not None:
                raise self._defect(records[at], error) from error

    def _planned(self, records: Sequence[CommandRecord]) -> Chunk:
        try:
            return Chunk(self._setting, records)
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

    def _write(self, chunk: Chunk) -> tuple[int, Exception | None]:
        """Seal and answer what a chunk plans, in order, and let the ledger know.

        Return how many of its records are done, and what went wrong with the one behind them, if anything did.
        """
        kind, now_ms, tally, base = self._setting.place.kind, self._moment[2], self.tally, self._journal_end
        taken, failed = chunk.taken, None
        sealed: dict[bytes, Aggregate] = {}
        outcomes: list[Record] = []
        statuses: list[str] = []
        for ask in chunk.asks:
            if ask.key in sealed:
                ask.before = sealed[ask.key]
            try:
                if ask.events and not self._record(ask, sealed):
                    taken = ask.index + 1  # what follows was decided on a state that will not be
                if len(ask.events) == 1 and ask.rejection is None:
                    status, value = outcome.ACCEPTED, accepted_once(ask, self._kind)
                else:
                    status, value = told(ask, kind)
            except Exception as error:  # noqa: BLE001 - what has no encoding: the caller names the command
                taken, failed = ask.index, error
                break
            # where the journal will end once this is committed: behind the events so far and the transaction's marker
            journal_end = base + tally.events + 1 if tally.events else base
            outcomes.append((ask.key, value, now_ms, told_headers(ask, journal_end)))
            statuses.append(status)
            if taken <= ask.index + 1:
                break
        self._flush()
        self._writes.add_outcomes(outcomes)
        tally.statuses.update(statuses)
        for index, record, key, home in chunk.forwarded:
            if index < taken:
                self._forward(record, key, home)
        for index, record, reason, message in chunk.buried:
            if index < taken:
                self._bury(record, reason, message)
        return taken, failed

    def _record(self, ask: Ask, sealed: dict[bytes, Aggregate]) -> bool:
        """Seal the events of a command, each on the head before it; False: they do not fit, and it is rejected."""
        decider, ledger, _, limits, _ = self._setting
        kind, versions, event_data = decider.kind, decider.versions, decider.event_data
        command, key, before, command_id = ask.command, ask.key, ask.before, ask.command_id
        version, head = before.version, before.head
        moment, time, ms = self._moment
        if before.recorded_at > moment:  # the clock may step back, a chain's times never do
            moment, time, ms = _moment_of(before.recorded_at)
        aggregate_id, correlation_id, causation_id, actor = (
            command.aggregate_id,
            command.correlation_id,
            command.causation_id,
            command.actor,
        )
        correlation = command_id if correlation_id == command.id else correlation_id.encode()
        records: list[Record] = []
        caused: list[tuple[bytes, str]] = []
        needed = RECORD_BYTES
        for event in ask.events:
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
            caused.append((head, name))
            needed += len(key) + len(block) + len(headers) + RECORD_BYTES
        if needed > limits.event_batch_bytes:
            ask.rejection = oversize(needed, limits.event_batch_bytes)
            return False
        if 0 < limits.events_per_aggregate < version:
            ask.rejection = full(version, limits.events_per_aggregate)
            return False
        if len(records) == 1:
            self._single += records
        else:
            self._flush()
            self._writes.add_together(records)
        sealed[key] = after = Aggregate(version, head, moment, ask.state)
        ask.caused, ask.head = (before.version + 1, caused), text
        ledger.record(key, after, ask.known, ask.caused)
        self._last_cid = caused[-1][0]
        self.tally.events += len(records)
        every = limits.snapshot_every
        if every and before.version // every != version // every:
            self._snapshot(ask, after)
        return True

    def _flush(self) -> None:
        if self._single:
            self._writes.add_events(self._single)
            self._single = []

    def _snapshot(self, ask: Ask, after: Aggregate) -> None:
        decider = self._setting.decider
        snapshot = Snapshot(
            decider.kind,
            ask.command.aggregate_id,
            after.version,
            after.head or b"",
            decider.state_version,
            decider.encode_state(after.state),
        )
        # The broker's time: were our clock an hour ahead, it would refuse the snapshot, and the events with it.
        self._writes.add_snapshot(ask.key, encode_snapshot(snapshot), ask.record.timestamp)

    def _forward(self, record: CommandRecord, key: bytes, home: int) -> None:
        place = self._setting.place
        headers = encode_headers(forwarded_headers(record.headers, place.partition, record.offset))
        if self._writes.add_forward(home, key, record.value, self._moment[2], headers):
            self.tally.forwarded += 1
        else:
            self._bury(record, TOO_LARGE, f"with its origin it is larger than {place.topic} takes")

    def _bury(self, record: CommandRecord, reason: str, message: str) -> None:
        _, topic, partition, _ = self._setting.place
        headers = encode_headers(
            dead_letter_headers(record.headers, reason, message, topic, partition, record.offset, record.timestamp)
        )
        self._writes.add_dead_letter(record.key, record.value, self._moment[2], headers)
        self.tally.dead_letters[reason] += 1


def _moment_of(text: str) -> Moment:
    return text, text.encode(), int(datetime.fromisoformat(text).timestamp() * 1000)
