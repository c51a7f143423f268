"""Long work that somebody asked for, and replays, which are such work: any worker answers for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from annals.agents.reading.gathering.cursors import BadCursorError, open_text, seal_text
from annals.agents.reading.jobs import TooManyJobsError
from annals.agents.reading.replays import (
    REPLAY,
    ReplayRequest,
    ReplayStatus,
    TargetNotPermittedError,
    TopicNotPermittedError,
    WrongSelectionError,
    problems,
    status_of,
)
from annals.schemas.data.validation import Validator
from annals.workers.api.choosing import read_body
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.parameters import CursorText, Limit
from annals.workers.api.http.problems import TOO_MANY_REQUESTS, InvalidMember, Problem, all_invalid, not_found
from annals.workers.api.http.routing import NoParameters, Route, Scope
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from annals.agents.reading.jobs import Jobs
    from annals.schemas.job_record import JobRecord
    from annals.workers.api.http.routing import Answer, Call, Handler

PAGE: Final = 100
RETRY_AFTER_S: Final = 5
TARGET_NOT_PERMITTED: Final = "target_not_permitted"
TOPIC_NOT_PERMITTED: Final = "topic_not_permitted"
JOBS: Final = "/v1/jobs"
REPLAYS: Final = "/v1/replays"
LOCATION: Final = ("Location", "Where it is told how far it is.")
_REQUESTS: Final = Validator(ReplayRequest)


class One(Struct, frozen=True):
    """A job."""

    id: str


class PageParameters(Struct, frozen=True):
    """Which page."""

    limit: Limit = PAGE
    cursor: CursorText | None = None


class JobStatus(Struct, frozen=True):
    """A piece of work, how far it is, and what came of it. status: running, done, failed or cancelled."""

    id: str
    kind: str
    subject: str
    status: str
    started_at: str
    ended_at: str | None = None
    progress: dict[str, Any] = {}
    result: Any = None
    error: str | None = None


class JobPage(Struct, frozen=True):
    """Jobs, the newest first."""

    jobs: list[JobStatus]
    next: str | None


class ReplayPage(Struct, frozen=True):
    """Replays, the newest first."""

    replays: list[ReplayStatus]
    next: str | None


class Replays(Protocol):
    """Begins replays."""

    async def start(self, request: ReplayRequest) -> JobRecord:
        """Begin one; it may raise what its target is not permitted for, and `TooManyJobsError`."""


class JobRoutes:
    """Routes of jobs and replays."""

    def __init__(self, jobs: Jobs, replays: Replays) -> None:
        """Take the jobs, and what begins replays."""
        self._jobs = jobs
        self._replays = replays

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        return (
            Route("GET", JOBS, Scope.READ, "All jobs, the newest first.", PageParameters, JobPage, self.all),
            Route("GET", f"{JOBS}/{{id}}", Scope.READ, "How a job stands.", One, JobStatus, self.get),
            self._cancel(JOBS, "Cancel a job, wherever it runs.", JobStatus, self.cancel),
            Route(
                "POST",
                REPLAYS,
                Scope.ADMIN,
                "Give events that count once more to a handler, a topic or a file.",
                NoParameters,
                ReplayStatus,
                self.start,
                body=ReplayRequest,
                status=202,
                answers_with=(LOCATION,),
            ),
            Route(
                "GET", REPLAYS, Scope.READ, "All replays, the newest first.", PageParameters, ReplayPage, self.replays
            ),
            Route("GET", f"{REPLAYS}/{{id}}", Scope.READ, "How a replay stands.", One, ReplayStatus, self.replay),
            self._cancel(REPLAYS, "Cancel a replay, wherever it runs.", ReplayStatus, self.cancel_replay),
        )

    async def all(self, call: Call) -> Answer:
        """Answer all jobs."""
        records, following = await self._page(call, JOBS, None)
        return json_answer(JobPage([job_status(record) for record in records], following))

    async def get(self, call: Call) -> Answer:
        """Answer how a job stands."""
        return json_answer(job_status(await self._found(call, None)))

    async def cancel(self, call: Call) -> Answer:
        """Cancel a job."""
        return json_answer(job_status(await self._cancelled(call, None)), status=202)

    async def start(self, call: Call) -> Answer:
        """Begin a replay."""
        try:
            record = await self._replays.start(_read(call.body))
        except TargetNotPermittedError as error:
            raise Problem(403, TARGET_NOT_PERMITTED, str(error)) from None
        except TopicNotPermittedError as error:
            raise Problem(403, TOPIC_NOT_PERMITTED, str(error)) from None
        except WrongSelectionError as error:
            raise all_invalid([InvalidMember(path, message) for path, message in error.problems]) from None
        except TooManyJobsError as error:
            raise too_many(error) from None
        return json_answer(status_of(record), status=202, location=f"{REPLAYS}/{record.id}")

    async def replays(self, call: Call) -> Answer:
        """Answer all replays."""
        records, following = await self._page(call, REPLAYS, REPLAY)
        return json_answer(ReplayPage([status_of(record) for record in records], following))

    async def replay(self, call: Call) -> Answer:
        """Answer how a replay stands."""
        return json_answer(status_of(await self._found(call, REPLAY)))

    async def cancel_replay(self, call: Call) -> Answer:
        """Cancel a replay."""
        return json_answer(status_of(await self._cancelled(call, REPLAY)), status=202)

    async def _page(self, call: Call, path: str, kind: str | None) -> tuple[list[JobRecord], str | None]:
        asked = call.parameters
        found = await self._jobs.all(kind)
        if asked.cursor is not None:
            after = _id_in(asked.cursor, path)
            found = [record for record in found if record.id < after]
        page = found[: asked.limit]
        if len(page) == len(found):
            return page, None
        return page, f"{path}?limit={asked.limit}&cursor={seal_text(f'{path} {page[-1].id}'.encode())}"

    async def _found(self, call: Call, kind: str | None) -> JobRecord:
        record = await self._jobs.get(call.parameters.id)
        if record is None or kind not in {None, record.kind}:
            raise not_found(f"there is no such {kind or 'job'}; the oldest that have ended are forgotten")
        return record

    async def _cancelled(self, call: Call, kind: str | None) -> JobRecord:
        record = await self._found(call, kind)
        return await self._jobs.cancel(record.id) or record

    def _cancel(self, path: str, summary: str, answer: type[Struct], handler: Handler) -> Route:
        return Route("DELETE", f"{path}/{{id}}", Scope.ADMIN, summary, One, answer, handler, status=202)


def job_status(record: JobRecord) -> JobStatus:
    """Return a job as it is answered."""
    return JobStatus(
        record.id,
        record.kind,
        record.subject,
        record.status,
        record.started_at,
        record.ended_at,
        record.progress,
        record.result,
        record.error,
    )


def too_many(error: TooManyJobsError) -> Problem:
    """Return the problem of a worker that runs as many jobs as it may."""
    return Problem(429, TOO_MANY_REQUESTS, str(error), headers={"retry-after": str(RETRY_AFTER_S)})


def _read(body: bytes) -> ReplayRequest:
    """Return what a body asks for.

    Raises:
        Problem: it is no JSON object, or a member is wrong.
    """
    request = read_body(body, _REQUESTS)
    wrong = [InvalidMember(path, message) for path, message in problems(request, tuple(deciders()))]
    if wrong:
        raise all_invalid(wrong)
    return request


def _id_in(cursor: str, path: str) -> str:
    """Return the id that a page of a list ended with; Problem (400) for the cursor of another list."""
    try:
        text = open_text(cursor).decode(errors="replace")
    except BadCursorError as error:
        raise Problem(400, "bad_cursor", str(error)) from None
    if not text.startswith(f"{path} "):
        raise Problem(400, "bad_cursor", "the cursor is of another list")
    return text.removeprefix(f"{path} ")
