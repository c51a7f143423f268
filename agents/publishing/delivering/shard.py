"""A delivery shard: one subscription that answers, in one journal partition.

It has a writer and a progress of its own, as one that catches up: where its subscriber is slow, its progress waits, and
nobody else's. Where nothing is left to do for REST_S, it ends: the publisher looks after its subscription then, and has
another one begin when something of it comes. Each step is one transaction: what is delivered, the rows that it changes,
the progress, and the offset of the answers that all of it rests on. What is not committed is thrown away and read anew.

Somebody who replays or discards what is parked writes rows under the same transactional id. While there are rows, the
shard commits at least once a second: so it sees soon that it was fenced, and opens with what it finds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec.structs import replace

from annals.agents.backoff import Backoff
from annals.agents.ports import FencedError, JournalError, NotPermittedError
from annals.agents.publishing.delivering.answers import BAD, Answered, Reader
from annals.agents.publishing.delivering.loading import Loader, take_up
from annals.agents.publishing.delivering.machine import Deliveries
from annals.agents.publishing.delivering.ports import DeadAck, DeliveryWrites
from annals.agents.publishing.delivering.records import delivered, parked
from annals.agents.publishing.delivering.telling import Telling
from annals.agents.publishing.failures import Failures
from annals.agents.publishing.ports import TargetError
from annals.agents.publishing.selection import CANNOT_GO_ON, RECORD_BYTES, TRANSACTION_BYTES, Halt, reason_of
from annals.agents.reading.ports import BrokenChainError, NotIndexedError, NotReadyError
from annals.agents.waiting import first_of, in_turns
from annals.schemas.delivery import row_key
from annals.schemas.progress import Progress
from annals.schemas.values.moments import unix_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from annals.agents.deciding.decider import Decider
    from annals.agents.pace import Pace
    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.machine import Answer
    from annals.agents.publishing.delivering.ports import (
        AckRecord,
        DeliveryLog,
        DeliverySource,
        DeliveryTelemetry,
        Poster,
    )
    from annals.agents.publishing.ports import Subscriptions
    from annals.agents.publishing.records import Outgoing
    from annals.agents.publishing.selection import Subscribed
    from annals.agents.publishing.share import Share
    from annals.schemas.delivery import Row

log = structlog.get_logger(__name__)

RUN_ACKS: Final = 2_000
ANSWER_BYTES_A_TURN: Final = 32 << 10  # of the event loop: JSON that takes the longest to read is some 50 ms of it
MOST_SETTLED: Final = 2_000  # of one transaction, and so many time limits
SETTLED_A_TURN: Final = 200  # of the event loop: each is looked up in the store
MOST_DELIVERED: Final = 500  # of one transaction
IDLE_COMMIT_S: Final = 1.0
FIRST_LOOK_S: Final = 0.02  # between two looks for answers, while some are waited for; doubled while there are none
LAST_LOOK_S: Final = 0.25
QUIET_LOOK_S: Final = 10.0  # for answers that can only be to nothing
REST_S: Final = 10.0  # to begin again takes a fence, and reading progress and rows
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0


class DeliveryShard:
    """Delivers until `stop`, or nothing is left to do.

    own: its progress; position: of it. halt: where the subscription could not go on. problem: which right its process
    lacks, or how it failed. has_reached: whether nothing was to do for a while: no row, no answer, and nothing that it
    wants in what it has looked at.
    """

    def __init__(
        self,
        subscribed: Subscribed,
        begin: Progress,
        source: DeliverySource,
        decider: Decider[Any],
        log: DeliveryLog,
        clock: Clock,
        calendar: Clock,
        telemetry: DeliveryTelemetry,
        reader: Reader,
        pace: Pace,
        subscriptions: Subscriptions,
        share: Share,
        draw: Callable[[], float],
        poster: Poster | None = None,
    ) -> None:
        """Take the subscription, its progress as far as it is known, and so on; poster: where it is no topic.

        clock: what rows are due by, never set back; calendar: the time of day, of what is kept and shown. share: of
        the process's time, that it looks at the journal in where it is behind. draw: a number from 0 to below 1, of
        which delays are made.
        """
        self.subscribed = subscribed
        self.halt: Halt | None = None
        self.problem: str | None = None
        self.has_reached = False
        self.own = begin
        self._source = source
        self._log = log
        self._clock = clock
        self._calendar = calendar
        self._telemetry = telemetry
        self._telling = Telling(subscribed.name, telemetry)
        self._reader = reader
        self._pace = pace
        self._subscriptions = subscriptions
        self._share = share
        self._poster = poster
        self._draw = draw
        self._loader = Loader(subscribed, source, decider)
        self._posted: deque[Answered] = deque()
        self._anew: deque[Row] = deque()  # rows whose wait began anew with the opening, to be written
        self._is_answered, self._stopping = asyncio.Event(), asyncio.Event()
        self._look_s = FIRST_LOOK_S
        self._failures = Failures(subscribed.name)
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self._committed_at, self._is_uncommitted = 0.0, False
        self._busy_at = -REST_S  # one that finds nothing to do when it opens may rest at once
        self._machine = self._deliveries()

    @property
    def position(self) -> int:
        """The next offset of the journal that is looked at."""
        return self.own.position

    @property
    def trouble(self) -> str:
        """What slows it down now; empty if nothing does."""
        return self._backoff.held_up("") or self._pace.trouble

    def stop(self) -> None:
        """Begin no other transaction; `run` ends when the one under way has ended."""
        self._stopping.set()
        self._is_answered.set()

    def answered(self, aggregate_id: str, answer: Answer) -> None:
        """Take an answer that came by another way than a topic; it is lost where this process ends before a commit."""
        self._posted.append(Answered(aggregate_id, answer))
        self._is_answered.set()

    async def run(self) -> None:
        """Deliver until `stop`, nothing is left to do, or the subscription cannot go on."""
        name = self.subscribed.name
        try:
            while not self._is_done():
                try:
                    await self._pace.obey(self._log.throttled_s(), self._stopping)
                    with self._backoff.piece():
                        await self._open()
                    while not self._is_done():
                        with self._backoff.piece():
                            has_moved = await self._step()
                        if not has_moved:
                            await self._wait()
                        await self._pace.obey(self._log.throttled_s(), self._stopping)
                except FencedError as error:
                    self._telemetry.fenced()
                    self.problem = str(error) if self._backoff.is_lasting else None
                except TargetError as error:  # nothing was begun
                    self.halt = Halt(self.position, str(error))
                except (JournalError, NotReadyError, BrokenChainError) as error:
                    self._telemetry.uncertain()
                    is_told = isinstance(error, NotPermittedError) or self._backoff.is_lasting
                    self.problem = str(error) if is_told else None
                    log.warning("delivery begins again", subscription=name, reason=str(error))
                except Exception as error:  # noqa: BLE001 - one subscription fails, and the others go on
                    self._telemetry.defect(error)
                    self.halt, self.problem = self._failures.note(error, self.position), self._failures.last
                if not self._is_done():  # a rebalance waits for who stops
                    await first_of(self._backoff.wait(), self._stopping.wait(), timeout_s=LAST_RETRY_S)
        finally:
            if self._poster is not None:
                await self._poster.close()
            await self._log.close()

    def _is_done(self) -> bool:
        return self._stopping.is_set() or self.has_reached or self.halt is not None

    def _deliveries(self) -> Deliveries:
        definition = self.subscribed.kept.record.definition
        return Deliveries(
            self._source.kind,
            (),
            definition.retry,
            definition.max_in_flight,
            ordered=definition.ordered,
            incarnation=self.own.incarnation,
            endpoint=None if self._poster is None else self._poster.endpoint,
        )

    async def _open(self) -> None:
        """Become the only one who delivers, and read what is not settled."""
        await self._log.fence()
        known = await self._log.own_progress()
        if known is None or known.is_resting or known.incarnation > self.own.incarnation:
            raise FencedError(f"{self.subscribed.name}: another worker has it live or at rest now, or anew")
        if known.incarnation == self.own.incarnation:  # else whoever wrote last did not know that it was begun anew
            self.own = known
        unsettled = await self._log.unsettled(self.own.incarnation)
        while not self._stopping.is_set() and not await self._source.until_offset(
            self.own.position, self._clock.monotonic() + IDLE_COMMIT_S
        ):
            pass
        machine = self._deliveries()
        retry = self.subscribed.kept.record.definition.retry
        self._anew = await take_up(machine, unsettled, retry, self._now(), self._poster)
        self._machine = machine
        self._loader.clear()
        self._telemetry.parked(self.subscribed.name, 0)
        self._committed_at, self._is_uncommitted = self._clock.monotonic(), self.problem is not None

    async def _step(self) -> bool:
        """Do what there is to do, by the steps of `Deliveries`; return whether there may be more at once."""
        machine, now = self._machine, self._now()
        run = await self._log.acks(self.own.acks, self._pace.part_of(RUN_ACKS))
        moved, dead = await self._take_answers(list(run.records), now)
        most_settled = self._pace.part_of(MOST_SETTLED)
        if run.is_end:  # else the answer to what seems to be late may be among those that are not read yet
            machine.expire(now, self._draw, most_settled)
        at = unix_ms(self._calendar.now())
        try:
            await self._go_on_behind_settled(most_settled, now)
            position, cid = await self._offer(now)
            sent, records = await self._records()
            parked_rows = [replace(row, at=at) for row in machine.newly_parked()]
            to_park = [parked(row, await self._loader.outgoing(row)) for row in parked_rows]
        except self._loader.errors as error:
            self.halt = Halt(self.own.position, f"{type(error).__name__}: {error}")
            return False
        rows = machine.changes() | {row_key(row): row for row in (*parked_rows, *self._begun_anew(most_settled))}
        after = Progress(position, cid, self.own.incarnation, run.next_offset)
        has_moved = after.position > self.own.position or after.acks > self.own.acks
        self._is_uncommitted |= has_moved
        is_due = self._clock.monotonic() - self._committed_at >= IDLE_COMMIT_S
        if rows or moved or dead or (is_due and (self._is_uncommitted or len(machine))):
            topic_records = [] if self._poster is not None else records
            await self._commit(DeliveryWrites(rows, after, at, topic_records, to_park, moved, dead))
            machine.delivered(sent, self._now())
        self.own = after
        self._loader.clear()
        for row, record in zip(sent, records, strict=True):
            if self._poster is not None:
                self._poster.post(row, record, self.answered)
        self._tell(sent, len(parked_rows))
        if rows or run.records:
            self._look_s = FIRST_LOOK_S
        if rows or run.records or len(machine):
            self._busy_at = self._clock.monotonic()
        else:
            self.has_reached = run.is_end and self._may_rest()
        return has_moved or bool(rows)

    async def _go_on_behind_settled(self, most: int, now: int) -> None:
        """Take for each aggregate whose row is settled what it wants next, as far as that is known."""
        settling = self._machine.settling(most, again=self._source.is_whole)
        async for some in in_turns(settling, SETTLED_A_TURN):
            await self._loader.read_following(some, self.own.position)
            for settled in some:
                try:
                    following = await self._loader.following(settled, self.own.position)
                except NotIndexedError:
                    self._machine.defer(settled)
                else:
                    self._machine.advance(settled, following, now)

    async def _commit(self, writes: DeliveryWrites) -> None:
        with self._pace.committing(self._pace.most, self._log.throttled_s):
            await self._log.deliver(writes)
        self._failures.reset()
        self._backoff.reset()  # steps that write nothing succeed where each transaction fails
        self.problem = self.problem if self._backoff.is_lasting else None
        self._committed_at, self._is_uncommitted = self._clock.monotonic(), False

    def _may_rest(self) -> bool:
        """Whether nothing has been to do for a while; whoever is told looks whether anything comes."""
        is_quiet = not self._posted and self._clock.monotonic() - self._busy_at >= REST_S
        return is_quiet and self.halt is None

    async def _take_answers(self, records: list[AckRecord], now: int) -> tuple[list[AckRecord], list[DeadAck]]:
        moved: list[AckRecord] = []
        dead: list[DeadAck] = []
        results: Counter[str] = Counter()
        posted = [(each, self._answer(each, now)) for each in self._posted]
        self._posted.clear()
        self._telling.posted(posted)
        results.update(result for _, result in posted)
        looked_at = 0
        for record in records:
            looked_at += len(record.value or b"")
            if looked_at > ANSWER_BYTES_A_TURN:
                looked_at = len(record.value or b"")
                await asyncio.sleep(0)
            found = self._reader.read(record)
            if isinstance(found, Answered):
                results[self._answer(found, now)] += 1
            elif isinstance(found, DeadAck):
                dead.append(found)
                results[BAD] += 1
            elif found is not None:
                moved.append(found)
        self._telling.answers(results)
        return moved, dead

    def _answer(self, answered: Answered, now: int) -> str:
        return self._machine.answer(answered.aggregate_id, answered.answer, now, self._draw)

    async def _offer(self, now: int) -> tuple[int, bytes | None]:
        """Offer the next events; return how far that came, and the last event before it.

        Where there is no room, the journal waits.
        """
        if self._machine.room <= 0:
            return self.own.position, self.own.cid
        if not (len(self._machine) and self._loader.is_behind(self.own.position)):  # without rows it rests after this
            return await self._offer_run(now)
        async with self._share.turn(self._backoff.aside()):
            return await self._offer_run(now)

    async def _offer_run(self, now: int) -> tuple[int, bytes | None]:
        cid = self.own.cid
        run = await self._loader.next_run(self.own, self._pace)
        if run.next_offset > self.own.position and not await self._is_current():
            self.stop()  # another one begins, with what it is now
            return self.own.position, cid
        for source in run.events:  # one by one: the record of what finds no room would be made in vain
            try:
                wanted = await self._loader.wanted(source)
            except CANNOT_GO_ON as error:
                self.halt = Halt(source.offset, reason_of(source, error))
                return source.offset, cid
            if wanted is not None and not self._machine.offer(wanted, now):
                return source.offset, cid
            cid = source.cid
        return run.next_offset, cid

    async def _is_current(self) -> bool:
        """Whether nobody has changed the subscription: asked when events have been read."""
        await self._subscriptions.until_current()
        return self._subscriptions.all().get(self.subscribed.name) == self.subscribed.kept

    def _begun_anew(self, most: int) -> list[Row]:
        """Take some rows whose wait began anew, and that are not others by now: their changes say it."""
        some = [self._anew.popleft() for _ in range(min(most, len(self._anew)))]
        return [row for row in some if self._machine.holds(row)]

    async def _records(self) -> tuple[list[Row], list[Outgoing]]:
        """Take what is to be delivered now; what would make the transaction too large is taken in the next."""
        rows: list[Row] = []
        records: list[Outgoing] = []
        size = 0
        most = self._pace.part_of(MOST_DELIVERED)
        await self._loader.read_rows(self._machine.upcoming(most))
        while len(rows) < most and size < TRANSACTION_BYTES and (taken := self._machine.take(self._now(), 1)):
            record = delivered(taken[0], await self._loader.outgoing(taken[0]))
            rows += taken
            records.append(record)
            size += RECORD_BYTES + len(record.value)
        return rows, records

    def _now(self) -> int:
        return unix_ms(self._clock.now())

    def _tell(self, sent: list[Row], parked_count: int) -> None:
        if sent and not self._loader.is_behind(self.own.position):
            self._share.note_live()
        if self._poster is None:  # else its answers tell
            self._telling.delivered([row.attempt for row in sent])
        lag, at = max(0, self._source.status().offset - self.own.position), unix_ms(self._calendar.now())
        self._telling.standing(self._machine, parked_count, at, self.subscribed.failures(), lag)

    def _idle_look_s(self) -> float:
        """Return for how long nothing of this subscription needs to be looked at while nothing is in flight."""
        return IDLE_COMMIT_S if len(self._machine) or self._reader.tidies else QUIET_LOOK_S

    async def _wait(self) -> None:
        """Wait for an event, an answer, or the next time limit; answers in a topic are looked for now and then."""
        due = self._machine.next_due()
        look_s = self._look_s if self._machine.numbers.in_flight else self._idle_look_s()
        if due is not None:
            look_s = min(look_s, max(0.0, (due - self._now()) / 1000))
        self._look_s = min(2 * self._look_s, LAST_LOOK_S)
        if self._posted:
            return
        self._is_answered.clear()
        awaited: list[Coroutine[Any, Any, object]] = [self._is_answered.wait()]
        if self._machine.room > 0:
            awaited.append(self._source.until_behind(self.own.position))
        await first_of(*awaited, timeout_s=look_s)
