"""Replays as jobs: a thread of the worker hears the processes that replay, and a job goes on where one before ended."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.errors import KafkaError

from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.replays import REPLAY, ReplayProgress, ReplayRequest, WrongSelectionError, progress_of
from annals.schemas.values.moments import bound_of, recorded_at
from annals.workers.audit.journals import find_journals
from annals.workers.clock import SystemClock
from annals.workers.jobs.replay_targets import create_missing, permitted_target
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.registry import deciders
from annals.workers.replay.event_types import problems_of_types
from annals.workers.replay.plan import Plan, ReplayError, Selection, Target
from annals.workers.replay.position_file import PositionFile, asked_for
from annals.workers.replay.positions import problems_of
from annals.workers.replay.run import COUNTS, replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from annals.agents.reading.jobs import Jobs
    from annals.schemas.job_record import JobRecord
    from annals.workers.audit.journals import Journal
    from annals.workers.replay.plan import Positions
    from annals.workers.replay.run import Statistics
    from annals.workers.settings import Settings

    FindJournals = Callable[[Settings, Iterable[str], bytes | None], Awaitable[Sequence[Journal]]]


class ReplayWork:
    """Does what a replay's job asks for (the `Work` port)."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings."""
        self._settings = settings

    async def __call__(self, record: JobRecord, report: Callable[[dict[str, Any]], None]) -> None:
        """Replay to the end as it is now, from where progress says that a worker before has come.

        Raises:
            TargetNotPermittedError: it may not go there, here.
            ReplayError: it cannot be done, or stopped: at a gap, or a handler failed for good.
        """
        asked = msgspec.convert(record.request, ReplayRequest)
        plan = plan_of(asked, self._settings)
        told = progress_of(record.progress)
        state, first = _state(plan, record.id), {**asked.positions, **told.positions}
        if state is not None and plan.target.file is not None:
            # The file's own positions say what is in it, on this machine.
            kept = PositionFile(state, asked_for(self._settings, plan))
            told, first = ReplayProgress(events=kept.lines_in(Path(plan.target.file))), asked.positions
            state.parent.mkdir(parents=True, exist_ok=True)
        cancelled, clock = threading.Event(), SystemClock()
        began = clock.monotonic()

        def tell(statistics: Statistics, done: int, total: int) -> None:
            report(msgspec.to_builtins(_progress(told, statistics, clock.monotonic() - began, done, total)))

        def work() -> Statistics:
            return replay(
                self._settings,
                plan,
                first=first,
                behind=told.behind,
                state=state,
                progress=tell,
                is_cancelled=cancelled.is_set,
            )

        try:
            statistics = await _in_thread(work, cancelled)
        finally:
            if state is not None and not cancelled.is_set():
                state.unlink(missing_ok=True)
        ended = _progress(told, statistics, statistics.seconds, 0, 0)
        total = ended.events if statistics.stopped is None else told.total
        report(msgspec.to_builtins(msgspec.structs.replace(ended, total=total)))
        if statistics.stopped is not None:
            raise ReplayError(statistics.stopped)


class Replays:
    """Begins replays."""

    def __init__(self, settings: Settings, jobs: Jobs, find: FindJournals = find_journals) -> None:
        """Take the settings, the jobs, and what finds the journals' partitions and ends."""
        self._settings = settings
        self._jobs = jobs
        self._find = find

    async def start(self, request: ReplayRequest) -> JobRecord:
        """Begin a replay here.

        Raises:
            TargetNotPermittedError, TopicNotPermittedError: it may not go there.
            WrongSelectionError: there is no such type, or the journals do not have what it is to begin at.
            TooManyJobsError: as many jobs run as may at once.
            NotReadyError: the brokers do not answer.
        """
        plan = plan_of(request, self._settings)
        self._jobs.require_room()
        try:
            await self._require_there(request.positions, plan.selection)
            if plan.target.topic is not None:
                await create_missing(self._settings, plan.target.topic)
        except (KafkaError, MissingTopicError, OSError, TimeoutError) as error:
            raise NotReadyError(f"the brokers cannot be asked: {error}") from error
        to = "".join(f"to {name} {where}" for name, where in (request.target or {}).items())
        return await self._jobs.start(REPLAY, "dry run" if request.dry_run else to, msgspec.to_builtins(request))

    async def _require_there(self, positions: Positions, selection: Selection) -> None:
        problems = await problems_of_types(self._settings, selection.kinds, selection.types)
        if positions:
            key = None if selection.aggregate_id is None else selection.aggregate_id.encode()
            problems += problems_of(positions, await self._find(self._settings, selection.kinds, key))
        if problems:
            raise WrongSelectionError(problems)


def plan_of(request: ReplayRequest, settings: Settings) -> Plan:
    """Return a request as a plan.

    Raises:
        TargetNotPermittedError: it may not go there.
        ValueError: a time cannot be read.
    """
    of = request.aggregate
    selection = Selection(
        (of.kind,) if of is not None else tuple(dict.fromkeys(request.kinds)) or tuple(deciders()),
        tuple(request.types),
        None if of is None else of.id,
        _moment(request.since),
        _moment(request.until),
    )
    target = permitted_target(request.target, settings)  # a dry run is refused what the replay would be
    return Plan(selection, Target() if request.dry_run else target, request.retries, request.rate)


async def _in_thread(work: Callable[[], Statistics], cancelled: threading.Event) -> Statistics:
    """Return what a thread returns; cancelled: set, and then waited for, when the caller is cancelled."""
    executor = ThreadPoolExecutor(1, thread_name_prefix=REPLAY)
    working = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        cancelled.set()
        with suppress(Exception):  # it was to end, whatever it says to that
            await working
        raise
    finally:
        executor.shutdown(wait=False)


def _moment(text: str | None) -> str | None:
    return None if text is None else recorded_at(bound_of(text))


def _state(plan: Plan, job_id: str) -> Path | None:
    """Return where the positions of a file are kept, beside it: under a name that no file may have."""
    return None if plan.target.file is None else Path(plan.target.file).with_name(f".{job_id}.positions")


def _progress(before: ReplayProgress, now: Statistics, seconds: float, done: int, total: int) -> ReplayProgress:
    counts = {name: getattr(before, name) + now.counts[name] for name in COUNTS}
    rate = round(now.counts["events"] / seconds, 1) if seconds > 0 else 0.0
    return ReplayProgress(**counts, done=done, total=total, rate=rate, positions=now.positions, behind=now.behind)
