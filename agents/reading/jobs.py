"""Long work that somebody asked for: it outlives the worker that runs it, and any worker tells how it stands.

A job is a record of the topic `jobs`. The worker that was asked runs it and writes how far it is; when that worker has
gone, the owner of partition 0 of the first journal takes it up. A worker whose job was taken up or cancelled meanwhile
reads so, and ends its own work.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog
from msgspec.structs import replace

from annals.agents.backoff import Backoff
from annals.agents.reading.ports import NotReadyError
from annals.agents.waiting import ended
from annals.schemas.job_record import CANCELLED, DONE, FAILED, MOST_BYTES, RUNNING, JobRecord, encode_job
from annals.schemas.kinds import KINDS
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from annals.agents.ports import Clock
    from annals.agents.reading.ports import Members

MOST_KEPT: Final = 1_000
MOST_RUNNING: Final = 8
MOST_TAKEOVERS: Final = 5
FIRST: Final = (KINDS[0], 0)
"""The journal partition whose owner takes up jobs that have lost their worker."""

LOOK_S: Final = 0.5
BEAT_S: Final = 2.0
SILENT_S: Final = 10.0
TOO_SILENT_S: Final = 60.0  # of a worker that the group still counts: it hangs, or came back as another process
CLOSE_S: Final = 5.0
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
LONGEST_ERROR: Final = 2_000


class TooManyJobsError(Exception):
    """As many jobs run as may at once; ask again when one has ended."""


class JobRecords(Protocol):
    """The topic `jobs`."""

    @property
    def records(self) -> Mapping[str, JobRecord]:
        """The newest records by id, as this worker has read them."""

    @property
    def is_read(self) -> bool:
        """Whether they were read to the end once."""

    async def change_all(
        self, change: Callable[[Mapping[str, JobRecord]], Mapping[str, JobRecord | None]]
    ) -> dict[str, JobRecord]:
        """Write what a change makes of the newest records, None for one that goes; return what was changed.

        Raises:
            NotReadyError: it may not have been written.
        """

    async def refresh(self) -> None:
        """Return when what the topic has now was read.

        Raises:
            NotReadyError: it was not.
        """


class Work(Protocol):
    """What jobs of one kind do."""

    async def __call__(self, record: JobRecord, report: Callable[[dict[str, Any]], None]) -> Any:
        """Do it, from its beginning or from the progress that was reported before; return its result.

        Cancelled: it is to end at once. Whatever it raises is the job's error.
        """


class _Running:
    """A job that this process runs. worker: the id that its record names."""

    def __init__(self, record: JobRecord) -> None:
        self.worker = record.worker
        self.progress = record.progress
        self.task: asyncio.Task[None] | None = None

    def report(self, progress: dict[str, Any]) -> None:
        self.progress = progress

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Jobs:
    """The jobs of the group, and those of them that this process runs."""

    def __init__(
        self,
        records: JobRecords,
        members: Members,
        works: Mapping[str, Work],
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        """Take the topic, the group, what jobs of each kind do, the clock, and what makes ids that grow with time."""
        self._records = records
        self._members = members
        self._works = works
        self._clock = clock
        self._new_id = new_id
        self._running: dict[str, _Running] = {}
        self._starting: set[str] = set()
        self._seen: dict[str, tuple[JobRecord, float]] = {}
        self._refreshing = asyncio.Lock()
        self._refreshed = -1.0
        self._log = structlog.get_logger(__name__)

    @property
    def running(self) -> int:
        """How many run in this process."""
        return len(self._running)

    def require_room(self) -> None:
        """Raise TooManyJobsError when no more jobs may run here."""
        if self._is_full():
            raise TooManyJobsError(f"{MOST_RUNNING} jobs are running; ask again when one has ended")

    async def start(
        self, kind: str, subject: str, request: dict[str, Any], before: Callable[[], Awaitable[object]] | None = None
    ) -> JobRecord:
        """Record a job and begin it here. before: what is done first, where the job has room.

        Raises:
            TooManyJobsError: as many run as may at once.
            NotReadyError: it may not have been recorded.
        """
        self.require_room()
        job_id = self._new_id()
        self._starting.add(job_id)
        try:
            if before is not None:
                await before()
            record = JobRecord(
                id=job_id,
                kind=kind,
                subject=subject,
                status=RUNNING,
                started_at=recorded_at(self._clock.now()),
                request=request,
                worker=self._me(),
            )
            await self._records.change_all(lambda known: {**_too_many(known), record.id: record})
            self._begin(record)
        finally:
            self._starting.discard(job_id)
        return record

    async def get(self, job_id: str) -> JobRecord | None:
        """Return a job as it stands; None if there is none of this id.

        Raises:
            NotReadyError: the jobs cannot be read.
        """
        if not self._records.is_read or job_id not in self._records.records:
            await self._refresh()
        record = self._records.records.get(job_id)
        return None if record is None else self._as_it_stands(record)

    async def all(self, kind: str | None = None) -> list[JobRecord]:
        """Return all jobs, or those of a kind, the newest first.

        Raises:
            NotReadyError: the jobs cannot be read.
        """
        if not self._records.is_read:
            await self._refresh()
        found = sorted(self._records.records.values(), key=lambda record: record.id, reverse=True)
        return [self._as_it_stands(record) for record in found if kind in {None, record.kind}]

    async def cancel(self, job_id: str) -> JobRecord | None:
        """End a job, wherever it runs; return it as it stands, None if there is none of this id.

        Raises:
            NotReadyError: it may not have been recorded.
        """
        here = self._running.get(job_id)
        progress = {} if here is None else {"progress": here.progress}
        over = {"status": CANCELLED, "ended_at": recorded_at(self._clock.now()), **progress}
        await self._change(job_id, lambda known: replace(known, **over) if known.is_running else known)
        if here is not None:
            here.cancel()
        return await self.get(job_id)

    async def run(self) -> None:
        """Look after the jobs until cancelled: those that run here, and those that have lost their worker."""
        beaten = self._clock.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            self._heed()
            try:
                if self._running and self._clock.monotonic() - beaten >= BEAT_S:
                    beaten = self._clock.monotonic()
                    await self._beat()
                await self._take_up()
            except NotReadyError as error:
                self._log.warning("jobs cannot be recorded", error=str(error))
            except Exception:  # noqa: BLE001 - one defect must not leave all jobs without anybody
                self._log.exception("looking after jobs failed by a defect; it goes on")

    async def close(self) -> None:
        """End what runs here, and give it back: the next worker goes on with it."""
        left = dict(self._running)
        await ended(*(each.task for each in left.values() if each.task))
        if not left:
            return

        def given_back(known: Mapping[str, JobRecord]) -> dict[str, JobRecord | None]:
            return {
                job_id: replace(record, worker=None, progress=running.progress)
                for job_id, running in left.items()
                if (record := known.get(job_id)) is not None and _is_ours(record, running)
            }

        with suppress(NotReadyError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._records.change_all(given_back)

    async def _refresh(self) -> None:
        """Return when what the topic had when this was called was read; those who wait share one reading."""
        called = self._clock.monotonic()
        async with self._refreshing:
            if self._refreshed < called:
                began = self._clock.monotonic()
                await self._records.refresh()
                self._refreshed = began

    def _begin(self, record: JobRecord) -> None:
        running = self._running[record.id] = _Running(record)
        running.task = asyncio.create_task(self._work(record, running), name=f"job {record.id}")

    async def _work(self, record: JobRecord, running: _Running) -> None:
        result, error = None, None
        try:
            result = msgspec.to_builtins(await self._works[record.kind](record, running.report))
        except asyncio.CancelledError:
            self._running.pop(record.id, None)
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it was, the asker is told
            error = (str(failure) or type(failure).__name__)[:LONGEST_ERROR]
            self._log.warning("job failed", job=record.id, kind=record.kind, subject=record.subject, error=error)
        try:
            await self._end(record.id, running, result, error)
        finally:
            self._running.pop(record.id, None)

    async def _end(self, job_id: str, running: _Running, result: Any, error: str | None) -> None:
        """Record what came of a job; until that is done, it counts as running."""
        now = recorded_at(self._clock.now())

        def over(known: JobRecord) -> JobRecord:
            if not _is_ours(known, running):
                return known
            status = DONE if error is None else FAILED
            changed = replace(known, status=status, ended_at=now, progress=running.progress, result=result, error=error)
            if len(encode_job(changed)) > MOST_BYTES:
                return replace(changed, status=FAILED, result=None, error="its result is too large to be recorded")
            return changed

        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                await self._change(job_id, over)
            except NotReadyError as reason:
                self._log.warning("jobs cannot be recorded", error=str(reason))
            else:
                return
            await backoff.wait()

    def _heed(self) -> None:
        """End what runs here, and was cancelled or taken up by another worker meanwhile."""
        for job_id, running in list(self._running.items()):
            record = self._records.records.get(job_id)
            if record is None or not _is_ours(record, running):
                running.cancel()

    async def _beat(self) -> None:
        """Record how far the jobs are that run here, and that somebody is at them."""
        me, here = self._me(), dict(self._running)

        def beaten(known: Mapping[str, JobRecord]) -> dict[str, JobRecord | None]:
            return {
                job_id: replace(record, worker=me, beats=record.beats + 1, progress=running.progress)
                for job_id, running in here.items()
                if (record := known.get(job_id)) is not None and _is_ours(record, running)
            }

        for job_id, record in (await self._records.change_all(beaten)).items():
            here[job_id].worker = record.worker

    async def _take_up(self) -> None:
        """Begin the jobs that have lost their worker, where this process is the one to do it.

        That is the owner of the first partition; and of a job that names this worker, which a process before it had
        under the same id (a static member), this one.
        """
        owner, me = self._members.owner(*FIRST), self._members.me
        if me is None:
            return
        is_first = owner is not None and owner.id == me.id
        here = self._running.keys() | self._starting
        lost = [record for record in self._records.records.values() if record.is_running and record.id not in here]
        self._seen = {record.id: self._seen[record.id] for record in lost if record.id in self._seen}
        for record in lost:
            is_mine = record.worker == me.id or (is_first and self._is_lost(record))
            if is_mine and record.kind in self._works and not self._is_full():
                self._starting.add(record.id)  # it has its place while its record is written
                try:
                    await self._take_up_one(record)
                finally:
                    self._starting.discard(record.id)

    async def _take_up_one(self, record: JobRecord) -> None:
        takeovers = record.takeovers + (record.worker is not None)
        if takeovers > MOST_TAKEOVERS:
            reason = f"{takeovers} workers were lost while they ran it"
            failed = {"status": FAILED, "ended_at": recorded_at(self._clock.now()), "error": reason}
            await self._change(record.id, lambda known: replace(known, **failed) if known == record else known)
            return
        mine = replace(record, worker=self._me(), takeovers=takeovers)
        changed = await self._change(record.id, lambda known: mine if known == record else known)
        if changed == mine:
            self._log.info("job taken up", job=record.id, kind=record.kind, subject=record.subject)
            self._begin(mine)

    def _is_lost(self, record: JobRecord) -> bool:
        """Whether nobody is at a job: its worker gave it back, or has left the group and is silent."""
        if record.worker is None:
            return True
        is_member = any(member.id == record.worker for member in self._members.all())
        seen, since = self._seen.get(record.id, (None, 0.0))
        now = self._clock.monotonic()
        if seen != record:
            self._seen[record.id] = (record, now)
            return False
        return now - since >= (TOO_SILENT_S if is_member else SILENT_S)

    def _is_full(self) -> bool:
        return len(self._running) + len(self._starting) >= MOST_RUNNING

    async def _change(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord | None:
        def of_one(known: Mapping[str, JobRecord]) -> dict[str, JobRecord | None]:
            record = known.get(job_id)
            return {} if record is None else {job_id: change(record)}

        return (await self._records.change_all(of_one)).get(job_id)

    def _as_it_stands(self, record: JobRecord) -> JobRecord:
        running = self._running.get(record.id)
        is_here = running is not None and _is_ours(record, running)
        return replace(record, progress=running.progress) if running is not None and is_here else record

    def _me(self) -> str:
        me = self._members.me
        if me is None:
            raise NotReadyError("this worker is not in its group yet")
        return me.id


def _is_ours(record: JobRecord, running: _Running) -> bool:
    return record.is_running and record.worker == running.worker


def _too_many(known: Mapping[str, JobRecord]) -> dict[str, JobRecord | None]:
    """Return None for the oldest jobs that have ended, so that as many are kept as may be."""
    ended = sorted(record.id for record in known.values() if not record.is_running)
    return dict.fromkeys(ended[: max(0, len(known) + 1 - MOST_KEPT)])
