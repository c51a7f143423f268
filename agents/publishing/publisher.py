"""The publisher of one journal partition: it copies the events that count to all that subscribe to them.

    opening ──► publishing ──► opening     fenced, uncertain, unreachable: the progress is read again
                    └──► stopped           the progress is not of this journal
    any ──► closed

One transaction holds the records of a run of events for all live subscriptions and the progress `live`. A subscription
that has a progress of its own is not live: it is to begin later, catches up (`catch_up`), is paused or deleted, or its
subscriber answers (`delivering`); of the latter, those that have nothing to do rest here (`joining`). A step:

1. Notice what has changed: subscriptions that are not active any more leave with a progress of their own.
2. Let those join that have caught up: their former writer is fenced, and their progress is read.
3. Read the next run, and make its records; of those that join, also of what is between their progress and the run.
4. Commit records and progress, the ends of what joined or rests and the beginnings of what left, or for which there is
   something; only then they are known.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.backoff import Backoff
from annals.agents.pace import Pace
from annals.agents.ports import FencedError, JournalError, NotPermittedError, StoppedError, UnreachableError
from annals.agents.publishing.catching import CatchingUp
from annals.agents.publishing.joining import Joining
from annals.agents.publishing.ports import TargetError, Writes
from annals.agents.publishing.restored import beyond_end, misplaced, progress_in
from annals.agents.publishing.roster import Roster, known_now
from annals.agents.publishing.step import Participants, select_for, to_and_from_rest
from annals.agents.reading.following.history import require_history, until_read
from annals.agents.reading.found import JournalRun
from annals.agents.reading.ports import RUN_EVENTS, BrokenChainError, NotReadyError
from annals.agents.waiting import first_of
from annals.schemas.progress import LIVE, Progress

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.making import DeliveryShards
    from annals.agents.publishing.ports import PublishLog, PublishLogs, PublishTelemetry, Subscriptions
    from annals.agents.publishing.records import Outgoing
    from annals.agents.publishing.selection import Subscribed
    from annals.agents.publishing.share import Share
    from annals.agents.publishing.step import StepSelection
    from annals.agents.reading.ports import JournalPartition, JournalSource

IDLE_COMMIT_S: Final = 1.0  # a position that moved without a record is written no more often
LOOK_S: Final = 1.0
TELL_S: Final = 0.1
MOST_CHANGES: Final = 2_000  # of the progress of subscriptions in one transaction, besides what joins or halts
FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 10.0

OPENING: Final = "opening"
PUBLISHING: Final = "publishing"
STOPPED: Final = "stopped"
CLOSED: Final = "closed"


class Publisher:
    """Publishes one journal partition. phase, reason: where it stands, and why it does not publish."""

    def __init__(
        self,
        source: JournalSource,
        journal: JournalPartition,
        decider: Decider[Any],
        logs: PublishLogs,
        subscriptions: Subscriptions,
        clock: Clock,
        share: Share,
        telemetry: PublishTelemetry,
        delivering: DeliveryShards | None = None,
        most_events: int | None = None,
    ) -> None:
        """Take the partition's reading shard, its writers, the subscriptions, what all share, and the size of runs."""
        self._source = source
        self._journal = journal
        self._decider = decider
        self._logs = logs
        self._subscriptions = subscriptions
        self._clock = clock
        self._share = share
        self._telemetry = telemetry
        self._name = f"{source.kind}-{source.partition}"
        self._log = structlog.get_logger(__name__).bind(kind=source.kind, partition=source.partition)
        self._live = Progress(0)
        self._is_first = self._is_uncommitted = self._is_unreachable = False
        self._committed_at = 0.0
        self._told_lag, self._told_at = -1, -LOOK_S
        self._roster = Roster(source.kind, source.partition)
        self._writer: PublishLog | None = None
        self._pace = Pace(self._clock, self._log, most_events or RUN_EVENTS, "events")
        self._catching = CatchingUp(source, decider, logs, share, telemetry, delivering, self._pace, subscriptions)
        self._joining = Joining(source, decider, self._catching, clock, self._pace, share)
        self._pausing: set[asyncio.Task[None]] = set()
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._stepping = asyncio.Lock()
        self._loss: StoppedError | None = None
        self._backoff, self._failure = Backoff(FIRST_RETRY_S, LAST_RETRY_S), ""
        self.phase, self.reason = OPENING, "not opened yet"

    @property
    def position(self) -> int:
        """The next offset that is published to those that are live."""
        return self._live.position

    @property
    def problem(self) -> str | None:
        """Why somebody has to look after it; None while it publishes, or begins to."""
        if self.phase == STOPPED or (self.phase == OPENING and self._is_unreachable):
            return f"{self._name} is not published: {self.reason}"
        if self.phase == CLOSED:
            return None
        if self._backoff.is_lasting:
            return f"{self._name} begins to be published again and again: {self._failure}"
        if held_up := self._backoff.held_up(self.reason):
            return f"{self._name} is not published: {held_up}"
        if self._pace.trouble and self._has_more():
            return f"{self._name} is published slowly: {self._pace.trouble}"
        return self._catching.problem()

    def _has_more(self) -> bool:
        """Whether there is anything for the live writer; those that are delivered have writers of their own."""
        is_behind = self._source.status().offset > self.position
        return is_behind or any(not each.is_delivered for each in self._roster.behind())

    async def run(self) -> None:
        """Publish until the task is cancelled, or the progress is not of this journal."""
        while True:
            try:
                await self._until_somebody_subscribes()
                await self._may_run.wait()
                await self._pace.obey(0.0 if self._writer is None else self._writer.throttled_s())
                with self._backoff.piece():
                    writer = await self._open()
                while True:
                    await self._pace.obey(writer.throttled_s())  # outside of a step: the partition may move
                    await self._may_run.wait()
                    async with self._stepping:
                        with self._backoff.piece():
                            has_moved = await self._step(writer)
                    self._backoff.reset()
                    if not has_moved:
                        await self._wait()
            except StoppedError as error:
                self._become(STOPPED, str(error))
                self._log.error("publisher stopped", reason=str(error))
                await self._joining.stop()
                return
            except (JournalError, NotReadyError, BrokenChainError) as error:
                self._note(error)
            except Exception as error:  # noqa: BLE001 - nothing may end the publisher unseen
                self._log.exception("publisher failed")
                self._note(error)
            await self._backoff.wait()

    def stop_for(self, error: StoppedError) -> None:
        """Stop at the next step: what was acknowledged is gone."""
        self._loss = error

    async def suspend(self) -> None:
        """Let the transactions under way end, and begin no others: the partition may move."""
        self._may_run.clear()
        async with self._stepping:
            await self._joining.stop()

    def resume(self) -> None:
        """Go on after `suspend`: the partition stayed."""
        self._may_run.set()

    async def close(self) -> None:
        """Close the connections. `run` must have ended or been cancelled."""
        await self._joining.stop()
        for task in self._pausing:
            task.cancel()
        if self._writer is not None:
            await self._writer.close()
        self._become(CLOSED, "")
        self._telemetry.closed()

    async def _until_somebody_subscribes(self) -> None:
        """Wait for the first subscription: before that, nothing is asked of the brokers for this partition.

        One that is put later begins where its record says, which is why nothing is missed meanwhile.
        """
        await self._subscriptions.until_read()
        while not (known := self._subscriptions.all()):
            self.reason = "there are no subscriptions"
            await self._subscriptions.until_changed(known)

    def _become(self, phase: str, reason: str) -> None:
        self.phase, self.reason = phase, reason
        if phase == PUBLISHING:
            self._is_unreachable = False
        self._telemetry.publishing(is_so=phase == PUBLISHING)

    def _note(self, error: Exception) -> None:
        (self._telemetry.fenced if isinstance(error, FencedError) else self._telemetry.uncertain)()
        self._is_unreachable = isinstance(error, UnreachableError | NotPermittedError)
        self._failure = str(error) or type(error).__name__
        self._become(OPENING, self._failure)
        self._log.warning("publisher opens again", reason=self._failure)

    async def _open(self) -> PublishLog:
        """Become the only publisher, read where it goes on, and return the writer.

        Raises:
            StoppedError: the progress is not of this journal.
        """
        self._become(OPENING, self.reason if self._is_unreachable else "reading the subscriptions")
        await self._joining.stop()
        if self._writer is not None:
            await self._writer.close()
        self._writer = self._logs.live()
        await self._writer.fence()
        await self._subscriptions.until_current()
        known = self._subscriptions.all()
        active = {name for name, kept in known.items() if kept.record.is_active}
        # A catch-up that died may have left a transaction open, which holds the reading of progress up.
        begun_here = await self._writer.progress(is_settled=False)
        await self._catching.fence(name for name, own in begun_here.items() if name in active and not own.is_resting)
        progress = await self._writer.progress()
        _, end = await self._journal.bounds()  # asked last: the next owner may have come further meanwhile
        live = progress.get(LIVE)
        self._source.expect(each.reached_with(live) for name, each in progress.items() if name in active)
        if live is None:  # begins at this end: who came to want this kind before it was asked has own progress to it
            known, progress = await known_now(self._subscriptions, self._writer)
            if any(each.position > end for each in progress.values()):  # of a successor, or that end is lost
                _, end = await self._journal.bounds()
                known, progress = await known_now(self._subscriptions, self._writer)
        progress = await progress_in(self._source, self._writer, known, progress, end, self._reach, self._pace)
        live = progress.get(LIVE)
        self._is_first = live is None
        begun = [name for name, kept in known.items() if self._source.kind in kept.record.begin]
        if begun and not progress:  # whoever puts a subscription writes its progress with it
            self._log.warning("progress is not there: subscriptions begin where they began", subscriptions=begun)
        self._live = Progress(end, await self._source.last_before(end)) if live is None else live
        self._roster = Roster(self._source.kind, self._source.partition)
        self._halt_all(await self._roster.notice(known, progress, is_first=self._is_first))
        self._catching.tell(self._roster)
        self._committed_at, self._told_lag = -IDLE_COMMIT_S, -1
        self._become(PUBLISHING, "")
        return self._writer

    async def _reach(self, position: int, published: int) -> None:
        """Wait for the reading shard.

        Raises:
            StoppedError: it reads no further, and has not what was published.
        """

        def tell(reason: str) -> None:
            self.reason = reason

        await until_read(self._source, position, published, f"{self._name}: published", self._clock, tell)

    async def _step(self, writer: PublishLog) -> bool:
        """Publish the next run; return whether there may be more to do at once."""
        if self._loss is not None:
            raise self._loss
        await require_history(self._source, f"{self._name}: published", self._live)
        await self._notice(writer)
        there = await self._participants(writer)
        run = await self._next(there)
        await require_history(self._source, f"{self._name}: published", self._live)  # as in `run_behind`
        if run.next_offset > self.position and not await self._roster.is_current(self._subscriptions):
            return True
        selected = await select_for(run.events, there, self.position, self._roster, self._decider)
        rest = to_and_from_rest(there, selected.comes, self._live, self._roster)
        changes: dict[str, Progress | None] = {**self._roster.begun(), **there.leaving, **rest}
        if len(changes) > (most := self._pace.part_of(MOST_CHANGES)):  # some of them first, where what is live stands
            await self._commit(writer, {}, dict(islice(changes.items(), most)), self._live, 0)
            return True
        changes |= dict.fromkeys(each.name for each in there.joining)
        changes |= selected.halted(run.events, self._live, self._roster)
        after = await self._after(run, selected)
        has_moved = after.position > self.position
        is_due = self._clock.monotonic() - self._committed_at >= IDLE_COMMIT_S
        if selected.records or changes or ((has_moved or self._is_uncommitted) and is_due):
            await self._commit(writer, selected.records, changes, after, len(run.events))
        elif has_moved:
            self._live, self._is_uncommitted = after, True
        self._halt_all({name: halt.reason for name, halt in selected.halts.items()})
        self._tell([*there.live, *there.joining, *there.at_rest])
        return has_moved or bool(changes)

    async def _participants(self, writer: PublishLog) -> Participants:
        """Return whose step it is, and begin what is to catch up."""
        joining, roster = self._joining, self._roster
        known_end = self._source.status().end
        if beyond := roster.beyond(known_end, self._catching.beyond(known_end)):
            self._halt_all(await beyond_end(self._source, self._journal, beyond, self.position))
        if roster.unproven:
            self._halt_all(await misplaced(self._source, roster))
        leaving = await joining.leaving(writer, roster, self._live)
        self._look_after_those_behind()
        becoming_live = await joining.joining(writer, roster, self.position)
        resting = await joining.resting(roster, self.position)
        answered = await joining.answered(writer, roster)
        return Participants(roster.live(), becoming_live, resting, roster.at_rest(), leaving, answered)

    async def _after(self, run: JournalRun, selected: StepSelection) -> Progress:
        """Return where what is live stands behind a run."""
        next_offset = selected.cut or run.next_offset
        if selected.last is not None:
            return Progress(next_offset, selected.last)
        is_moved = next_offset > self.position
        return Progress(next_offset, await self._source.last_before(next_offset) if is_moved else self._live.cid)

    async def _commit(
        self,
        writer: PublishLog,
        records: dict[str, list[Outgoing]],
        changes: dict[str, Progress | None],
        after: Progress,
        run_events: int,
    ) -> None:
        try:
            with self._pace.committing(run_events or self._pace.most, writer.throttled_s):
                await writer.commit(Writes(records, {**changes, LIVE: after}, after.position))
        except TargetError as error:  # nothing of it will be visible
            self._halt_all({error.name: str(error)})
            return
        self._committed_at = self._clock.monotonic()
        self._is_first = self._is_uncommitted = False
        self._live = after
        for name, progress in changes.items():
            self._roster.take(name, progress)
            self._catching.forget(name)
        if records:
            self._share.note_live()
        for name, outgoing in records.items():
            self._telemetry.published(name, len(outgoing))

    async def _notice(self, writer: PublishLog) -> None:
        known = self._subscriptions.all()
        if known is self._roster.known:
            return
        unseen = self._roster.unseen(known)
        progress = await writer.progress() if unseen else {}
        for name in unseen:
            self._logs.forget(name)
        await self._catching.notice(self._roster.known, known)
        self._halt_all(await self._roster.notice(known, progress, is_first=self._is_first))

    def _look_after_those_behind(self) -> None:
        """Begin what is to catch up, and take note of what cannot go on."""
        halts = self._catching.look_after(
            {each: self._roster.own[each.name] for each in self._roster.behind()}, lambda: self._live.position
        )
        for name, (halt, position) in halts.items():
            own = self._roster.own[name]
            self._roster.own[name] = Progress(position, None, own.incarnation)
            self._halt_all({name: halt.reason})

    async def _next(self, there: Participants) -> JournalRun:
        """Return the next run; where nobody wants any of it, the events in it are passed over unread."""
        position = self.position
        if there.joining and not self._pace.is_full:  # what joins is alone in its transaction
            return JournalRun([], position, is_end=False)
        if there.want_events:
            return await self._source.events_from(position, self._pace.most)
        return JournalRun([], max(position, self._source.status().offset), is_end=True)

    def _halt_all(self, reasons: dict[str, str]) -> None:
        """Publish nothing more for subscriptions that cannot go on, and have them paused for all to see."""
        for name, reason in reasons.items():
            self._roster.halt(name)
            pausing = self._subscriptions.pause(name, reason, self._name, self._roster.known[name].offset)
            task = asyncio.create_task(pausing, name=f"pause {name}")
            self._pausing.add(task)
            task.add_done_callback(self._pausing.discard)

    def _tell(self, those_here: list[Subscribed]) -> None:
        lag, now = max(0, self._source.status().offset - self._live.position), self._clock.monotonic()
        # there may be many of them, and mostly the lag is what it was
        is_told = now - self._told_at < (LOOK_S if lag == self._told_lag else TELL_S)
        if not is_told:
            self._told_lag, self._told_at = lag, now
        for each in those_here:
            if not is_told:
                self._telemetry.lag(each.name, lag)
            if failures := each.failures():
                self._telemetry.failed(each.name, failures)

    async def _wait(self) -> None:
        """Wait until there is something to do, or a position is to be written."""
        await first_of(
            self._source.until_behind(self._live.position),
            self._subscriptions.until_changed(self._roster.known),
            timeout_s=LOOK_S,
            tasks=[*self._catching.tasks(), *self._joining.tasks()],
        )
