"""A batch of commands, decided: for each its answer, in order, as the records of one transaction.

Later commands see what earlier ones of the batch changed, through the ledger. Nothing here waits, and nothing here is
lasting: the commit makes it so, or nothing of it has happened.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from agents.chunk import Ask, Chunk, Limits, Place, Setting
from agents.ports import Position, StoppedError
from schemas import outcome
from schemas.moments import recorded_at
from schemas.snapshot import Snapshot, encode_snapshot
from topics.headers import dead_letter_headers, forwarded_headers, origin_of, outcome_headers
from topics.wire import encode_headers, encoded_outcome_headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agents.decider import Decider
    from agents.ledger import Ledger
    from agents.ports import Aggregate, CommandEvents, CommandRecord, Writes
    from agents.verdict import Rejection

__all__ = ["Batch", "Limits", "Place", "Tally"]

CHUNK: Final = 32
TOO_LARGE: Final = "too_large"


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
        self._setting = Setting(decider, ledger, place, limits, now, recorded_at(now), int(now.timestamp() * 1000))
        self._writes = writes
        self._kind = place.kind.encode()
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
            self._write(chunk)
            at += chunk.taken
            self.next_offset = records[at - 1].offset + 1

    def _planned(self, records: Sequence[CommandRecord]) -> Chunk:
        try:
            return Chunk(self._setting, records)
        except Exception as error:
            if len(records) > 1:  # plan one by one, up to the one that cannot be
                return self._planned(records[:1])
            kind, topic, partition, _ = self._setting.place
            raise StoppedError(
                f"{topic}-{partition} offset {records[0].offset}: deciding a command of {kind} failed with "
                f"{type(error).__name__}. This is a defect in the code of the aggregate or of the worker; the "
                f"command is kept, and is decided by a release that can."
            ) from error

    def _write(self, chunk: Chunk) -> None:
        """Write what a chunk plans: events, answers, what goes elsewhere; and let the ledger know."""
        writes, ledger, tally = self._writes, self._setting.ledger, self.tally
        now_ms, every = self._setting.now_ms, self._setting.limits.snapshot_every
        values = [self._outcome(ask) for ask in chunk.asks]
        for ask in chunk.asks:
            if ask.after is None:
                continue
            if len(ask.sealed) == 1:
                writes.add_event(*ask.sealed[0])
            else:
                writes.add_events(ask.sealed)
            ledger.record(ask.key, ask.after, ask.known, (ask.before.version + 1, ask.written))
            self._last_cid = ask.written[-1][0]
            if every and ask.before.version // every != ask.after.version // every:
                self._snapshot(ask, ask.after)
        for ask, (status, value) in zip(chunk.asks, values, strict=True):
            if ask.after is not None:
                tally.events += len(ask.sealed)
            writes.add_outcome(ask.key, value, now_ms, self._outcome_headers(ask))
            tally.statuses[status] += 1
        for _, record, key, home in chunk.forwarded:
            self._forward(record, key, home)
        for _, record, reason, message in chunk.buried:
            self._bury(record, reason, message)

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

    def _outcome(self, ask: Ask) -> tuple[str, bytes]:
        command, kind = ask.command, self._setting.place.kind
        if ask.told is not None:
            return outcome.DUPLICATE, self._repeated(ask, ask.told)
        if ask.rejection is not None:
            return outcome.REJECTED, self._rejected(ask, ask.rejection)
        if ask.after is None:
            before = ask.before
            value = outcome.accepted(command.id, kind, command.aggregate_id, before.version, before.head, [])
        elif len(ask.written) == 1:
            name = ask.written[0][1].encode()
            version = ask.after.version
            value = outcome.accepted_event(command.id, self._kind, command.aggregate_id, version, name, ask.texts[0])
        else:
            listed = _listed((ask.before.version + 1, ask.written))
            value = outcome.accepted(command.id, kind, command.aggregate_id, ask.after.version, ask.after.head, listed)
        return outcome.ACCEPTED, value

    def _repeated(self, ask: Ask, told: CommandEvents | Ask) -> bytes:
        events = (told.before.version + 1, told.written) if isinstance(told, Ask) else told
        listed = _listed(events)
        version, _, head = listed[-1]
        command = ask.command
        return outcome.duplicate(command.id, self._setting.place.kind, command.aggregate_id, version, head, listed)

    def _rejected(self, ask: Ask, rejection: Rejection) -> bytes:
        command, before = ask.command, ask.before
        return outcome.rejected(
            command.id, self._setting.place.kind, command.aggregate_id, before.version, before.head, *rejection
        )

    def _outcome_headers(self, ask: Ask) -> bytes:
        command, record, events = ask.command, ask.record, self.tally.events
        # where the journal will end once this is committed: behind the events so far and the transaction's marker
        journal_end = self._journal_end + events + 1 if events else self._journal_end
        origin = origin_of(record.headers) if record.headers else None
        if origin is None and command.traceparent is None and command.tracestate is None:
            return encoded_outcome_headers(ask.command_id, record.offset, journal_end)
        return encode_headers(
            outcome_headers(command.id, record.offset, journal_end, origin, command.traceparent, command.tracestate)
        )

    def _forward(self, record: CommandRecord, key: bytes, home: int) -> None:
        place = self._setting.place
        headers = encode_headers(forwarded_headers(record.headers, place.partition, record.offset))
        if self._writes.add_forward(home, key, record.value, self._setting.now_ms, headers):
            self.tally.forwarded += 1
        else:
            self._bury(record, TOO_LARGE, f"with its origin it is larger than {place.topic} takes")

    def _bury(self, record: CommandRecord, reason: str, message: str) -> None:
        _, topic, partition, _ = self._setting.place
        headers = encode_headers(
            dead_letter_headers(record.headers, reason, message, topic, partition, record.offset, record.timestamp)
        )
        self._writes.add_dead_letter(record.key, record.value, self._setting.now_ms, headers)
        self.tally.dead_letters[reason] += 1


def _listed(events: CommandEvents) -> list[tuple[int, str, bytes]]:
    first_version, each = events
    return [(version, name, cid) for version, (cid, name) in enumerate(each, first_version)]
