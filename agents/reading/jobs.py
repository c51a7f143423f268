"""Long work that somebody asked for: it runs in this process, and tells how it stands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.agents.ports import Clock

MOST_KEPT: Final = 1_000
MOST_RUNNING: Final = 8
RUNNING, DONE, FAILED = "running", "done", "failed"


class Job(Struct):
    """A piece of work. result: what it found; error: why it failed."""

    id: str
    kind: str
    subject: str
    status: str
    started_at: str
    result: Any = None
    error: str | None = None


class TooManyJobsError(Exception):
    """As many jobs run as may at once; ask again when one has ended."""


class Jobs:
    """The jobs of this process, the newest ones kept."""

    def __init__(self, clock: Clock, new_id: Callable[[], str]) -> None:
        """Take the clock, and what makes ids."""
        self._clock = clock
        self._new_id = new_id
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    def get(self, job_id: str) -> Job | None:
        """Return a job; None if there is none of this id here."""
        return self._jobs.get(job_id)

    def start(self, kind: str, subject: str, work: Callable[[], Awaitable[Any]]) -> Job:
        """Begin work, and return the job.

        Raises:
            TooManyJobsError: as many run as may at once.
        """
        if len(self._tasks) >= MOST_RUNNING:
            raise TooManyJobsError(f"{MOST_RUNNING} jobs are running; ask again when one has ended")
        job = Job(self._new_id(), kind, subject, RUNNING, self._clock.now().isoformat())
        self._jobs[job.id] = job
        for ended in [each.id for each in self._jobs.values() if each.status != RUNNING][: len(self._jobs) - MOST_KEPT]:
            del self._jobs[ended]
        task = asyncio.create_task(self._run(job, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def close(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            job.result = await work()
            job.status = DONE
        except asyncio.CancelledError:
            job.status, job.error = FAILED, "the worker ended"
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the asker is told
            self._log.warning("job failed", job=job.id, kind=job.kind, subject=job.subject, error=str(error))
            job.status, job.error = FAILED, f"{type(error).__name__}: {error}"
