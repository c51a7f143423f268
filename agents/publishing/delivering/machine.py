"""The deliveries of one subscription in one journal partition: pure.

    offered ──► waiting ──take──► in flight ──ack──► settled ──► the aggregate's next event is waiting
                   ▲                 │  │ nack, or no answer in time; the last attempt:
                   └─────────────────┘  └──► parked ──► waiting (replayed), settled (discarded)

Whoever holds a `Deliveries` commits what `changes` says before it does anything else with it, and throws it away where
what became of a commit is not known: the topic of rows says then what holds. A step, in this order:

1. `answer` for each answer, so that one that has come goes before its time limit; then `expire`.
2. `settling`, and `advance` for each of these rows: the next event that is wanted, if there is one; `defer` where that
   is not known yet.
3. `offer` for the next events of the journal, until there is no room.
4. `take`: what is delivered now. `changes`, `newly_parked`: what is written in the same transaction.
5. `delivered`, once that is committed: the time limits of what was taken begin.

What is parked is decided about by others, in the topic of rows, and comes back with another `Deliveries`. So nothing is
kept of it here but its key, by which later events of its aggregate are passed over.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import structs

from annals.agents.due_index import DueIndex
from annals.agents.publishing.delivering.back_off import back_off_ms
from annals.schemas.ack import ACK, EXTEND, NACK
from annals.schemas.delivery import DISCARDED, IN_FLIGHT, PARKED, WAITING, Row, row_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annals.schemas.subscription import Retry

TAKEN: Final = "taken"
OTHER_ATTEMPT: Final = "other_attempt"
NOT_OUTSTANDING: Final = "not_outstanding"
RESULTS: Final = (TAKEN, OTHER_ATTEMPT, NOT_OUTSTANDING)

NOT_ANSWERED: Final = "ack_timeout"
NONE: Final = -1  # no later event of the aggregate is wanted


class Wanted(NamedTuple):
    """An event that the subscription wants. cid: in text form; offset: in the journal."""

    aggregate_id: str
    version: int
    cid: str
    type: str
    offset: int


class Answer(NamedTuple):
    """What was answered to one attempt.

    verdict: `ack`, `nack`, `park` or `extend`. counts: False for a `nack` that uses no attempt up, as of an endpoint
    that asks to wait. is_made: False where nothing was sent: there was no such attempt.
    """

    cid: str
    attempt: int
    verdict: str
    reason: str | None = None
    delay_ms: int | None = None
    up_to: bool = False
    counts: bool = True
    is_made: bool = True


class Settled(NamedTuple):
    """A row that is settled, and where its aggregate goes on.

    later: the offset of the next event that is wanted; None if it is to be looked for: between the row's event and the
    progress, by the order of versions.
    """

    row: Row
    later: int | None


class Numbers(NamedTuple):
    """How many rows there are in all, in flight and parked."""

    unsettled: int
    in_flight: int
    parked: int


class Deliveries:
    """The rows of one subscription in one journal partition. Times are milliseconds since 1970."""

    def __init__(
        self,
        kind: str,
        rows: Iterable[Row],
        retry: Retry,
        most_in_flight: int,
        *,
        ordered: bool = True,
        incarnation: int = 1,
        endpoint: str | None = None,
    ) -> None:
        """Take the rows as the topic has them, what is asked for, and the name of the endpoint that is posted to."""
        self._endpoint = endpoint
        self._kind = kind
        self._incarnation = incarnation
        self._retry = retry
        self._most = most_in_flight
        self._ordered = ordered
        self._rows: dict[str, Row] = {}
        self._of_aggregate: dict[str, dict[str, None]] = {}  # where an aggregate may have several: their keys
        self._later: dict[str, int] = {}
        self._timed: DueIndex[tuple[int, int, Row]] = DueIndex(lambda entry: self.holds(entry[2]))
        self._ready: deque[Row] = deque()
        self._settled: dict[str, Settled] = {}
        self._deferred: set[str] = set()  # those of the settled whose later events are not known yet
        self._changes: dict[str, Row | None] = {}
        self._parked: list[Row] = []
        self._parked_keys: set[bytes] = set()
        self._parked_since: int | None = None
        self._sequence = self._in_flight = 0
        self.take_up(sorted(rows, key=attrgetter("offset")))

    def __len__(self) -> int:
        return len(self._rows) + len(self._parked_keys)

    @property
    def numbers(self) -> Numbers:
        """How many rows there are."""
        return Numbers(len(self), self._in_flight, len(self._parked_keys))

    @property
    def parked_since(self) -> int | None:
        """Since when the oldest that is parked is parked; None: nothing is."""
        return self._parked_since

    @property
    def room(self) -> int:
        """How many events more may be in flight."""
        return self._most - self._in_flight - len(self._ready)

    def rows(self) -> Iterable[Row]:
        """Return the rows as they are now, without what is parked."""
        return self._rows.values()

    def take_up(self, rows: Iterable[Row]) -> None:
        """Take rows as the topic has them, in the order of their offsets: all of them, before anything else."""
        for row in rows:
            if row.state == PARKED:
                self._note_parked(row_key(row).encode(), row.at)
                continue
            self._put(row)
            if row.state == DISCARDED:
                self._settle(row)

    def take_up_parked(self, parked: Iterable[tuple[bytes, int]]) -> None:
        """Take the keys of rows that are parked, and since when, as `take_up` does."""
        for key, at in parked:
            self._note_parked(key, at)

    def is_parked(self, aggregate_id: str, cid: str) -> bool:
        """Whether the row that an event has is parked."""
        return self._key(aggregate_id, cid).encode() in self._parked_keys

    def next_due(self) -> int | None:
        """Return when there is something to do, if nothing is answered until then; 0: at once; None: never."""
        if len(self._settled) > len(self._deferred) or (self._ready and self._in_flight < self._most):
            return 0
        first = self._timed.first()
        return None if first is None else first[0]

    def offer(self, wanted: Wanted, now: int) -> bool:
        """Take the next wanted event of the journal; False: there is no room, and it must be offered again."""
        key = self._key(wanted.aggregate_id, wanted.cid)
        if key in self._rows:
            if self._later.get(key) == NONE:
                self._later[key] = wanted.offset
            return True
        if self._parked_keys and key.encode() in self._parked_keys:
            return True
        if self.room <= 0:
            return False
        row = self._row(wanted, now)
        self._later[key] = NONE
        self._write(row)
        return True

    def answer(self, aggregate_id: str, answer: Answer, now: int, draw: Callable[[], float]) -> str:
        """Take an answer to a delivery; return what it was: one of `RESULTS`. draw: a number from 0 to below 1."""
        row = self._outstanding(aggregate_id, answer.cid)
        if row is None:
            return NOT_OUTSTANDING
        if row.attempt != answer.attempt:
            return OTHER_ATTEMPT
        if answer.verdict == ACK:
            for each in self._up_to(row) if answer.up_to else [row]:
                self._settle(each)
            return TAKEN
        if row.state != IN_FLIGHT:  # its time is up, and what is to become of it is settled
            return NOT_OUTSTANDING
        if answer.verdict == EXTEND:
            due = now + (self._retry.ack_timeout_ms if answer.delay_ms is None else answer.delay_ms)
            self._write(structs.replace(row, due=due))
        elif answer.verdict == NACK:
            self._again(row, now, draw, answer)
        else:
            self._park(row, now, answer.reason or answer.verdict)
        return TAKEN

    def expire(self, now: int, draw: Callable[[], float], most: int | None = None) -> None:
        """Take back what was not answered in time, and make ready what is due; most: of them, the others later."""
        expired = 0
        while expired != most and (first := self._timed.first()) is not None and first[0] <= now:
            self._timed.pop()
            expired += 1
            row = first[2]
            if row.state == WAITING:
                self._ready.append(row)
            else:
                self._again(row, now, draw, Answer(row.cid, row.attempt, NACK, NOT_ANSWERED))

    def settling(self, most: int | None = None, *, again: bool = True) -> list[Settled]:
        """Return what is settled and has perhaps a later event that waits; `advance` or `defer` is called for each.

        most: of them; the others are returned again. again: also what was deferred.
        """
        found = (settled for key, settled in self._settled.items() if again or key not in self._deferred)
        return list(islice(found, most))

    def defer(self, settled: Settled) -> None:
        """Leave an aggregate as it is: what comes next is not known yet. The row says that its event is settled."""
        key = row_key(settled.row)
        if key not in self._deferred:
            self._deferred.add(key)
            self._changes[key] = settled.row

    def advance(self, settled: Settled, following: Wanted | None, now: int) -> None:
        """Go on with an aggregate: with its next wanted event below the progress, or with nothing."""
        key = row_key(settled.row)
        del self._settled[key]
        self._deferred.discard(key)
        if following is None:
            self._remove(settled.row)
            return
        self._later.pop(key, None)  # whether there are more is not known
        self._write(self._row(following, now))

    def take(self, now: int, most: int | None = None) -> list[Row]:
        """Return what is to be delivered now, each with its attempt; it is in flight from now on."""
        taken: list[Row] = []
        while self._ready and self._in_flight < self._most and len(taken) != most:
            row = self._ready.popleft()
            if not self.holds(row):
                continue
            sent = structs.replace(
                row,
                state=IN_FLIGHT,
                attempt=row.attempt + 1,
                tries=row.tries + 1,
                due=now + self._retry.ack_timeout_ms,
                at=now,
                is_drawn=False,
                endpoint=self._endpoint,
            )
            self._put(sent, is_timed=False)
            self._changes[row_key(sent)] = sent
            taken.append(sent)
        return taken

    def delivered(self, rows: Iterable[Row], now: int) -> None:
        """Begin the time limits of what was taken: it is committed. Its row, for the next owner, has an earlier one."""
        for row in rows:
            self._time(row, now + self._retry.ack_timeout_ms)

    def upcoming(self, most: int) -> list[Row]:
        """Return what `take` would give next, not more than some; none where more are in flight than may be by now."""
        return [row for row in islice(self._ready, min(most, max(0, self._most - self._in_flight))) if self.holds(row)]

    def newly_parked(self) -> list[Row]:
        """Return what was parked since this was last asked."""
        parked, self._parked = self._parked, []
        return parked

    def changes(self) -> dict[str, Row | None]:
        """Return the rows that are others since this was last asked, by key; None: settled."""
        changes, self._changes = self._changes, {}
        return changes

    def _row(self, wanted: Wanted, now: int) -> Row:
        return Row(
            self._kind,
            wanted.aggregate_id,
            wanted.version,
            wanted.cid,
            wanted.type,
            wanted.offset,
            self._ordered,
            WAITING,
            due=now,
            at=now,
            incarnation=self._incarnation,
        )

    def _outstanding(self, aggregate_id: str, cid: str) -> Row | None:
        """Return the row of a CID that was delivered and is not parked."""
        key = self._key(aggregate_id, cid)
        row = self._rows.get(key)
        if row is None or (row.aggregate_id, row.cid) != (aggregate_id, cid):
            return None
        return row if row.attempt and row.state in (IN_FLIGHT, WAITING) and key not in self._settled else None

    def _key(self, aggregate_id: str, cid: str) -> str:
        """Return the key that the row of an event has."""
        return f"{self._kind}/{aggregate_id}" if self._ordered else cid

    def _up_to(self, row: Row) -> list[Row]:
        if row.ordered:  # it is the only one of its aggregate
            return [row]
        rows = [self._rows[key] for key in self._of_aggregate[row.aggregate_id] if self._rows[key].attempt]
        return [each for each in rows if each.version <= row.version and each.state in (IN_FLIGHT, WAITING)]

    def _again(self, row: Row, now: int, draw: Callable[[], float], answer: Answer) -> None:
        tries, reason = row.tries if answer.counts else row.tries - 1, answer.reason or NACK
        if tries >= self._retry.max_attempts:
            self._park(row, now, reason)
            return
        is_drawn = answer.delay_ms is None
        due = now + (back_off_ms(self._retry, tries, draw()) if answer.delay_ms is None else answer.delay_ms)
        attempt = row.attempt if answer.is_made else row.attempt - 1
        waiting = structs.replace(row, state=WAITING, attempt=attempt, tries=tries, due=due, at=now, reason=reason)
        self._write(structs.replace(waiting, is_drawn=is_drawn))

    def _park(self, row: Row, now: int, reason: str) -> None:
        parked = structs.replace(row, state=PARKED, due=0, at=now, reason=reason, endpoint=None)
        self._remove(row)
        self._changes[row_key(row)] = parked
        self._parked.append(parked)
        self._note_parked(row_key(row).encode(), now)

    def _note_parked(self, key: bytes, at: int) -> None:
        self._parked_keys.add(key)
        self._parked_since = at if self._parked_since is None else min(self._parked_since, at)

    def _settle(self, row: Row) -> None:
        key = row_key(row)
        later = self._later.get(key)
        if not row.ordered or later == NONE:
            self._remove(row)
            return
        # Out of flight, and nobody may take or answer it any more; the row stays until it is known what follows.
        self._count(row, -1)
        waiting = row if row.state == DISCARDED else structs.replace(row, state=DISCARDED)
        self._rows[key] = waiting
        self._settled[key] = Settled(waiting, later)

    def _remove(self, row: Row) -> None:
        key = row_key(row)
        self._count(self._rows.pop(key), -1)
        self._later.pop(key, None)
        self._timed.sweep(len(self._rows))
        if not row.ordered:
            keys = self._of_aggregate[row.aggregate_id]
            del keys[key]
            if not keys:
                del self._of_aggregate[row.aggregate_id]
        self._changes[key] = None

    def _write(self, row: Row) -> None:
        self._put(row)
        self._changes[row_key(row)] = row

    def _put(self, row: Row, *, is_timed: bool = True) -> None:
        key = row_key(row)
        if (known := self._rows.get(key)) is not None:
            self._count(known, -1)
        self._rows[key] = row
        if not row.ordered:
            self._of_aggregate.setdefault(row.aggregate_id, {})[key] = None
        self._count(row, 1)
        if row.state == WAITING and row.due <= row.at:
            self._ready.append(row)
        elif is_timed and row.state in (WAITING, IN_FLIGHT):
            self._time(row, row.due)

    def _time(self, row: Row, due: int) -> None:
        self._sequence += 1
        self._timed.put((due, self._sequence, row), len(self._rows))

    def _count(self, row: Row, by: int) -> None:
        self._in_flight += by * (row.state == IN_FLIGHT)

    def holds(self, row: Row) -> bool:
        """Whether a row is still as it was when it was put in a queue."""
        return self._rows.get(row_key(row)) is row
