"""The reactor: one reaction in one journal partition.

    paused ──► opening ──► running ──► opening    fenced, uncertain, unreachable: all is read again
                  │           └──► paused          so says the topic `reactions`
                  ├────────────────► failed        it cannot take what occurred; tried again when it is resumed
                  └────────────────► stopped       its progress is of a newer version, or of another journal
    any ──► closed

One transaction holds the commands of a run of events and of the timers that fired, the rows of states and timers, and
the progress. A step:

1. Read the next run, and react to its events; the timers of a process that were due come before its event.
2. Where the run reached what the reading shard has: fire what is due by the clock, in the order of due times. What is
   more than a step takes fires in the next ones, whatever has come meanwhile.
3. Where that is more than a position, ask whether the reaction is to run yet: what came after a pause was answered is
   not reacted to before it is resumed.
4. Commit. Whatever is uncertain then throws the rows away, and they are read again from their topic.

Below `quiet_until` no command is sent: the reaction was not there yet, or another version has reacted.

A reaction that is re-keyed has two in the place of one: beside each journal partition one that copies its events to the
stream (`Rekeying`), and beside each partition of the stream one that reacts to them, whose timers fire by the clock
once all that the journals had when they were due has come through the stream (`Horizon`).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec.structs import replace

from annals.agents.backoff import Backoff
from annals.agents.event_keys import Rekeyed
from annals.agents.pace import Pace
from annals.agents.ports import FencedError, JournalError, NotPermittedError, StoppedError
from annals.agents.reacting.failures import ReactionFailedError, name_of
from annals.agents.reacting.opening import Opening, load
from annals.agents.reacting.ports import ReactionWrites, UnwritableError, is_active
from annals.agents.reacting.standing import NewerVersionError, Whose
from annals.agents.reacting.taking import Fired, Reacted, fire, react
from annals.agents.reacting.versions import all_fired_until, remove_rows
from annals.agents.reading.following.history import require_history
from annals.agents.reading.ports import RUN_EVENTS, BrokenChainError, NotReadyError
from annals.agents.waiting import first_of
from annals.schemas.progress import LONGEST_FAILURE, Progress
from annals.schemas.values.moments import moment_of, recorded_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.reacting.ports import Controls, Horizon, Kept, ReactionLog, ReactionTelemetry
    from annals.agents.reactions.reaction import Reaction
    from annals.agents.reading.found import JournalEvent
    from annals.agents.reading.ports import JournalPartition, JournalSource

RUN_TIMERS: Final = 500
LOOK_S: Final = 0.5
IDLE_COMMIT_S: Final = 5.0  # a position that moved without a change is written no more often
REKEYED_COMMIT_S: Final = 0.25  # of who copies events to a stream: timers behind that wait for its position
HORIZON_S: Final = 0.05
LONGEST_LAG_S: Final = 1e9  # a stranger's record may be of any time
FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 10.0

PAUSED: Final = "paused"
OPENING: Final = "opening"
RUNNING: Final = "running"
FAILED: Final = "failed"
STOPPED: Final = "stopped"
CLOSED: Final = "closed"


class _OfSeveralError(Exception):
    """Something that several events and timers lead to cannot be written: they are taken one by one."""


class Reactor:
    """Runs one reaction in one journal partition. phase, reason: where it stands, and why it does not react."""

    def __init__(
        self,
        reaction: Reaction[Any] | Rekeyed,
        decider: Decider[Any],
        source: JournalSource,
        journal: JournalPartition,
        log: Callable[[], ReactionLog],
        controls: Controls,
        clock: Clock,
        telemetry: ReactionTelemetry,
        here: str | None = None,
        horizon: Horizon | None = None,
    ) -> None:
        """Take the reaction, the partition's reading shard, what makes its writer, and what says whether it runs.

        reaction: or a stream that events are copied to, instead. source: for a reaction to events of another
        deployment, what judges its journal. here: this deployment's id. horizon: it is a stream that is reacted to.
        """
        self._reaction = reaction
        self._source = source
        self._make_log = log
        self._controls = controls
        self._clock = clock
        self._telemetry = telemetry
        self._horizon = horizon
        self._idle_commit_s = REKEYED_COMMIT_S if isinstance(reaction, Rekeyed) else IDLE_COMMIT_S
        whose = self._whose = Whose.of(reaction, source.kind, source.partition, reads_stream=horizon is not None)
        bound = {whose.what: reaction.name, "kind": source.kind, "partition": source.partition}
        if whose.deployment is not None:
            bound["deployment"] = whose.deployment
        self._log = structlog.get_logger(__name__).bind(**bound)
        self._pace = Pace(self._clock, self._log, RUN_EVENTS, "events")
        self._is_ours_to_mend, self._lacks_right = whose.deployment is None, False
        self._writer: ReactionLog | None = None
        self._opening = Opening(
            reaction,
            decider,
            whose,
            source,
            journal,
            clock,
            here,
            self._tell,
            self._log,
            reads_stream=horizon is not None,
        )
        self._processes = self._opening.begun()
        self._backoff, self._failure = Backoff(FIRST_RETRY_S, LAST_RETRY_S), ""
        self._progress, self._passed = Progress(0), ""
        self._committed, self._committed_at = 0, 0.0
        self._singly = 0  # what is yet taken one by one, to find what leads to something that cannot be written
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._stepping = asyncio.Lock()
        self.phase, self.reason = PAUSED, "nobody has resumed it yet"

    @property
    def position(self) -> int:
        """The next offset that is reacted to."""
        return self._progress.position

    @property
    def problem(self) -> str | None:
        """Why this process cannot run it; None while it reacts, begins to, is paused, or has failed by its own.

        What is wrong with another deployment's journal is no reason for this one not to be ready.
        """
        if (self.phase == STOPPED and self._is_ours_to_mend) or (self.phase == OPENING and self._lacks_right):
            return f"{self._whose.name} does not {self._whose.does}: {self.reason}"
        if self._backoff.is_lasting and self._is_ours_to_mend and self.phase in {OPENING, RUNNING}:
            return f"{self._whose.name} begins to {self._whose.does} again and again: {self._failure}"
        if self._is_ours_to_mend and (held_up := self._backoff.held_up(self.reason)):
            return f"{self._whose.name} does not {self._whose.does}: {held_up}"
        if self._pace.trouble and self._source.status().offset > self.position and self.phase in {OPENING, RUNNING}:
            does = "copies" if self._whose.does == "copy" else "reacts"
            return f"{self._whose.name} {does} slowly: {self._pace.trouble}"
        return None

    async def run(self) -> None:
        """React until the task is cancelled."""
        while True:
            known = self._controls.get(self._reaction.name)
            if not is_active(known):
                await self._pause(known)
                continue
            try:
                await self._may_run.wait()
                await self._pace.obey(0.0 if self._writer is None else self._writer.throttled_s())
                writer = await self._open()
                while is_active(self._controls.get(self._reaction.name)):
                    await self._pace.obey(writer.throttled_s())  # outside of a step: the partition may move
                    await self._may_run.wait()
                    async with self._stepping:
                        with self._backoff.piece():
                            has_moved = await self._step(writer)
                    self._backoff.reset()
                    if not has_moved:
                        await self._wait()
                continue
            except _OfSeveralError as error:
                self._singly = RUN_EVENTS + RUN_TIMERS
                self._note(error)
                continue
            except (StoppedError, ReactionFailedError, UnwritableError) as error:
                self._singly = 0
                self._is_ours_to_mend = self._whose.deployment is None or isinstance(error, NewerVersionError)
                self._become(STOPPED if isinstance(error, StoppedError) else FAILED, str(error))
                self._log.error(f"{self._whose.what} {self.phase}", reason=str(error))
                if not isinstance(error, StoppedError):
                    await self._keep_failure(str(error))
                await self._until_told(known)
                continue
            except (JournalError, NotReadyError, BrokenChainError) as error:
                self._note(error)
            except Exception as error:  # noqa: BLE001 - nothing may end the reactor unseen
                self._log.exception("reactor failed")
                self._note(error)
            await self._backoff.wait()

    async def suspend(self) -> None:
        """Let the transaction under way end, and begin no other: the partition may move."""
        self._may_run.clear()
        async with self._stepping:
            pass

    def resume(self) -> None:
        """Go on after `suspend`: the partition stayed."""
        self._may_run.set()

    async def close(self) -> None:
        """Close the connections. `run` must have ended or been cancelled."""
        await self._close_writer()
        self._become(CLOSED, "")
        self._telemetry.closed()

    async def _keep_failure(self, reason: str) -> None:
        """Write why it cannot go on where everybody sees it, if the brokers take it: the log and the metrics say so."""
        failed = replace(self._progress, failure=reason[:LONGEST_FAILURE])
        if self._writer is None or failed == self._progress:
            return
        try:
            await self._writer.commit(ReactionWrites((), {}, failed))
        except (JournalError, UnwritableError) as error:
            self._log.warning(f"why the {self._whose.what} failed could not be written", reason=str(error))

    async def _pause(self, known: Kept | None) -> None:
        reason = None if known is None else known.control.reason
        self._become(PAUSED, reason or ("nobody has resumed it yet" if known is None else "it is paused"))
        await self._close_writer()
        await self._until_told(known)

    async def _until_told(self, known: Kept | None) -> None:
        """Wait until somebody pauses or resumes the reaction."""
        await self._controls.until_changed(self._reaction.name, known)

    async def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await writer.close()

    def _become(self, phase: str, reason: str) -> None:
        self.phase, self.reason = phase, reason
        self._telemetry.running(is_so=None if phase in {PAUSED, CLOSED} else phase == RUNNING)

    def _tell(self, reason: str) -> None:
        self.reason = reason

    def _note(self, error: Exception) -> None:
        self._lacks_right = isinstance(error, NotPermittedError)
        self._failure = str(error) or type(error).__name__
        self._become(OPENING, self._failure)
        self._log.warning("reactor opens again", reason=self._failure, fenced=isinstance(error, FencedError))

    async def _open(self) -> ReactionLog:
        """Become the only one who runs this reaction here, read where it goes on and what it keeps; return the writer.

        Raises:
            StoppedError: the progress is of a newer version, or not of this journal.
        """
        self._become(OPENING, "reading what it keeps")
        with self._backoff.piece():
            await self._close_writer()
            writer = self._writer = self._make_log()
            await writer.fence()
            opened = await self._opening.open(writer)
        # Before the rows are taken up: where that fails, it is told behind this progress.
        self._processes, self._progress, self._passed = opened.processes, opened.progress, ""
        self._committed, self._committed_at = opened.progress.position, -IDLE_COMMIT_S
        if opened.is_outdated:
            await remove_rows(writer, opened.kept, self._progress, self._pace, self._may_run)
            version, quiet_until = self._progress.version, self._progress.quiet_until
            self._log.info("reaction begins in a new version", version=version, quiet_until=quiet_until)
        else:
            await load(self._processes, opened.kept, self._log)
        self._become(RUNNING, "")
        return writer

    async def _step(self, writer: ReactionLog) -> bool:
        """React to the next run and fire what is due; return whether there may be more to do at once."""
        read_until = self._read_until()
        run = await self._source.events_from(self.position, 1 if self._singly else self._pace.most)
        await require_history(self._source, self._whose.done, self._progress)  # as in `run_behind`
        reacted = await react(self._processes, run, self._progress, self._clock)
        fired = await self._fire(reacted, read_until)
        changes, position = self._processes.changes(), reacted.position
        has_moved = position > self._progress.position
        has_changed = bool(changes.rows or changes.commands or changes.fired)
        if has_changed and not await self._is_current():
            return True  # all is read again once it is resumed
        has_passed = bool(self._progress.failure) and (has_moved or has_changed)
        failure = "" if has_passed else self._progress.failure
        until = all_fired_until(max(self._progress.fired, self._processes.due_until), self._processes.next_due())
        after = replace(self._progress, position=position, cid=reacted.cid, fired=until, failure=failure)
        is_due = self._clock.monotonic() - self._committed_at >= self._idle_commit_s
        if has_changed or has_passed or (position > self._committed and is_due):
            with self._pace.committing(self._pace.most, writer.throttled_s):
                await self._commit(writer, ReactionWrites(changes.commands, changes.rows, after), reacted.last)
            self._committed, self._committed_at = position, self._clock.monotonic()
            self._telemetry.reacted(len(changes.commands), changes.fired)
        self._telemetry.come_round(changes.come_round)
        self._progress = after
        self._singly = max(0, self._singly - 1)
        self._telemetry.standing(max(0, self._source.status().offset - position), self._processes.timers)
        if fired.failure is not None:
            raise fired.failure
        return has_moved or fired.has_more

    async def _fire(self, reacted: Reacted, read_until: str) -> Fired:
        """Fire the timers that are due, once no event of before is left. read_until: of `_read_until`, before the run.

        Up to when none is left holds from then on: what comes later, as by the first timers of many, was recorded
        later, and the rest of them does not wait for it. Where the clock steps back, that is not so any more.
        """
        if self._now() < self._passed:
            self._passed = ""
        # Offsets do not tell: behind the last event there may be markers of transactions, which nobody reads.
        if reacted.is_all and self._source.status().reached:
            self._passed = max(self._passed, await self._time_passed(reacted.position, read_until))
        if reacted.failure is not None or (self._singly and reacted.last is not None):
            return Fired(has_more=False, failure=reacted.failure)
        until, most = min(self._passed, self._now()), 1 if self._singly else self._pace.part_of(RUN_TIMERS)
        return await fire(self._processes, until, most, self._progress.quiet_due, self._clock)

    async def _is_current(self) -> bool:
        """Whether nobody has paused the reaction: asked when events were read, and it was seen which timers are due."""
        await self._controls.until_current()
        return is_active(self._controls.get(self._reaction.name))

    async def _commit(self, writer: ReactionLog, writes: ReactionWrites, last: JournalEvent | None) -> None:
        """Write it; what cannot be written is looked for among several, so that what was before it is written.

        last: the event that is the only one in it, while they are taken one by one; None: there are timers alone.

        Raises:
            UnwritableError: what a single event or timer leads to cannot be written; the message names it.
        """
        try:
            await writer.commit(writes)
        except UnwritableError as error:
            if not self._singly:
                raise _OfSeveralError(str(error)) from error
            raise UnwritableError(f"{'a timer' if last is None else name_of(last)}: {error}") from error

    async def _time_passed(self, position: int, read_until: str) -> str:
        """Return the time up to which timers fire by the clock: behind a position there is no event of that time."""
        if self._horizon is not None:
            return await self._horizon.passed(self._processes.next_due(), position)
        return read_until

    def _read_until(self) -> str:
        """Return the time up to which the reading shard has read all that has arrived: it may be behind."""
        waiting_s = min(self._source.status().lag_s, LONGEST_LAG_S)
        return recorded_at((self._clock.now() - timedelta(seconds=waiting_s)).astimezone(UTC))

    def _now(self) -> str:
        return recorded_at(self._clock.now().astimezone(UTC))

    async def _wait(self) -> None:
        """Wait until there is something to react to, a timer is due, or somebody pauses the reaction."""
        timeout, due = LOOK_S, self._processes.next_due()
        if due is not None:
            left = (moment_of(due) - self._clock.now()).total_seconds()
            soonest = 0.0 if left > 0 and self._horizon is None else HORIZON_S  # what is due waits for the journals
            timeout = min(LOOK_S, max(soonest, left))
        await first_of(
            self._source.until_behind(self._progress.position),
            self._until_told(self._controls.get(self._reaction.name)),
            timeout_s=timeout,
        )
