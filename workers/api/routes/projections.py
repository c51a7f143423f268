"""Projections: where they stand, their rows, and what an administrator does with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct

from annals.agents.backoff import Backoff
from annals.agents.reading.gathering.expecting import ExpectedAt
from annals.agents.reading.gathering.gather import Lag, PartitionReason
from annals.agents.reading.gathering.row_cursors import decode_place, encode_place
from annals.agents.reading.jobs import TooManyJobsError
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.projecting.versions import TurnRefusedError
from annals.agents.reading.queries.rows import wanted_of
from annals.agents.reading.read_models.service import REBUILD, VERIFY, ProjectionStatus
from annals.schemas.suggestion import with_known
from annals.workers.api.gathered import (
    LAST_LOOK_S,
    LOOK_S,
    Expect,
    WaitExpected,
    bad_cursors_refused,
    end_of,
    until_expected,
    until_rests_on,
)
from annals.workers.api.http.answers import json_answer, rows_json
from annals.workers.api.http.parameters import CursorText, Limit, shown
from annals.workers.api.http.problems import (
    InvalidMember,
    Problem,
    all_invalid,
    invalid,
    not_found,
    timed_out,
)
from annals.workers.api.http.routing import NoParameters, Route, Scope
from annals.workers.api.routes.jobs import JOBS, LOCATION, JobStatus, job_status, too_many

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from annals.agents.event_keys import Rekeyed
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.agents.reading.jobs import Jobs
    from annals.agents.reading.read_models.row_answers import Answer as RowsAnswer
    from annals.agents.reading.read_models.row_answers import RowAnswers
    from annals.agents.reading.read_models.service import ProjectionService
    from annals.workers.api.http.routing import Answer, Call, Handler

PAGE: Final = 100
VERSION_IN_USE: Final = "version_in_use"
NAME: Final = "{projection}"
PATH: Final = f"/v1/projections/{NAME}"


class One(Struct, frozen=True):
    """A projection."""

    projection: str


class RebuildParameters(Struct, frozen=True):
    """Which rows are built anew; without `aggregate` (`<kind>/<id>`): all."""

    projection: str
    aggregate: str | None = None


class DropParameters(Struct, frozen=True):
    """Which version is dropped."""

    projection: str
    version: Annotated[int, Meta(ge=1, description="The version whose rows go.")]


class Projections(Struct, frozen=True):
    """Where all projections stand."""

    projections: list[ProjectionStatus]


class Rows(Struct, frozen=True):
    """Rows, and what they rest on: `kind`, `aggregate_id`, then the columns of the projection.

    `next`: null: all partitions answered and had no more. What is in `missing` keeps its place in it. `truncated`:
    people share an address with more than 20, or than were found in time, and `shared_with` lacks some: the question
    `people` by the address has all.
    """

    rows: list[dict[str, Any]]
    next: str | None
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    truncated: bool
    lag: Lag


class StreamEnds(Protocol):
    """How far journals are copied to re-keyed streams."""

    async def ends_with(self, stream: Rekeyed, partition: int, offset: int) -> Sequence[int] | None:
        """Return offsets of all partitions of a stream below which an event is, if it is to be in the stream.

        partition, offset: of the event in the journal. None: it is not copied yet.

        Raises:
            NotReadyError: the brokers do not answer.
        """


class Expecting:
    """Read your own writes: asks again until the events that a caller names are in the answer."""

    def __init__(self, shards: AllShards, streams: StreamEnds) -> None:
        """Take all shards, and what knows how far journals are copied to streams."""
        self._shards = shards
        self._streams = streams

    async def require_there(self, kind: str, aggregate_id: str) -> None:
        """Refuse an aggregate that has no event.

        Where nobody can say so now it passes: whoever reads its partition next finds nothing of it.

        Raises:
            Problem: there is none (404).
        """
        shard = self._shards.of(kind, aggregate_id)
        try:
            is_there = await shard.offset_of(aggregate_id, 1) is not None
        except NotReadyError:
            return
        if not is_there and shard.status().reached:
            raise not_found(f"there is no {kind} {aggregate_id!r}, and so it has no rows")

    async def __call__(
        self, call: Call, ask: Callable[[], Awaitable[RowsAnswer]], stream: Rekeyed | None = None
    ) -> RowsAnswer:
        """Return an answer that rests on what is expected. stream: what is folded instead of the journals.

        Raises:
            Problem: what is expected cannot be read (400), or did not come in time (504).
        """
        asked = call.parameters
        offsets = await until_expected(self._shards, asked.expect, asked.wait, call)
        if stream is not None:
            offsets = await self._in_stream(stream, offsets, end_of(call, asked.wait))
        return await until_rests_on(offsets, asked.wait, call, ask)

    async def _in_stream(self, stream: Rekeyed, expected: Sequence[ExpectedAt], deadline: float) -> list[ExpectedAt]:
        """Wait until expected events are copied, and return up to where the stream is to be folded then.

        Raises:
            Problem: one is not copied in time (504).
        """
        found: list[ExpectedAt] = []
        for kind, partition, offset in expected:
            if kind != stream.kind:
                continue
            backoff = Backoff(LOOK_S, LAST_LOOK_S)
            while (ends := await self._streams.ends_with(stream, partition, offset)) is None:
                if asyncio.get_running_loop().time() >= deadline:
                    position = {"kind": kind, "partition": partition, "offset": offset}
                    raise timed_out(f"offset {offset} of {kind}-{partition} is not copied yet", position=position)
                await backoff.wait_within(deadline)
            found += [ExpectedAt(stream.place, at, end - 1) for at, end in enumerate(ends)]
        return found


class ProjectionRoutes:
    """Routes of projections."""

    def __init__(
        self,
        service: ProjectionService,
        jobs: Jobs,
        answers: RowAnswers,
        expecting: Expecting,
        projections: Mapping[str, Sequence[Projection[Any]]],
    ) -> None:
        """Take what is asked, the jobs, and the projections, whose parameters the route of rows has."""
        self._service = service
        self._jobs = jobs
        self._answers = answers
        self._expecting = expecting
        self._projections = projections
        self._columns = columns_of(projections)

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        return (
            Route(
                "GET",
                "/v1/projections",
                Scope.READ,
                "Where all projections stand.",
                NoParameters,
                Projections,
                self.list,
            ),
            Route("GET", PATH, Scope.READ, "Where a projection stands.", One, ProjectionStatus, self.status),
            Route(
                "GET",
                f"{PATH}/rows",
                Scope.READ,
                "Rows of a projection that all given parameters find.",
                rows_parameters(self._projections),
                Rows,
                self.rows,
                problems=(504,),
            ),
            self._job("rebuild", "Build all rows, or those of one aggregate, anew.", RebuildParameters, self.rebuild),
            self._job("verify", "Compare all rows with a fold of the journal.", One, self.verify),
            self._done("resume", "Have what failed on an event try it again.", One, self.resume),
            self._done("turn-back", "Turn to the previous version, within a day.", One, self.turn_back),
            self._done("drop", "Drop a version that does not answer any more.", DropParameters, self.drop),
        )

    async def list(self, call: Call) -> Answer:
        """Answer where all stand."""
        del call
        return json_answer(Projections(await self._service.list()))

    async def status(self, call: Call) -> Answer:
        """Answer where one stands."""
        return json_answer(await self._service.status(self._known(call)))

    async def rows(self, call: Call) -> Answer:
        """Answer rows."""
        name, asked = self._known(call), call.parameters
        given = {column: getattr(asked, column) for column in self._columns}
        index = {column: text for column, text in given.items() if text is not None}
        allowed = self._projections[name][-1].parameters
        if wrong := [column for column in index if column not in allowed]:
            message = f"{name} is not found by this: by {', '.join(allowed)}"
            raise all_invalid([InvalidMember(column, message) for column in wrong])
        for column, text in index.items():
            _require_terms(self._projections[name][-1], column, text)
        stream = self._projections[name][-1].stream
        with bad_cursors_refused():
            # All pages are of one version, whatever answers meanwhile: it is kept for a day.
            version, after = (None, None) if asked.cursor is None else decode_place(asked.cursor, name, index)
            answer = await self._expecting(
                call, lambda: self._answers.rows(name, index, after, asked.limit, version), stream
            )
        following = None
        if not answer.is_end:
            cursor = encode_place(name, index, answer.version, answer.after or ())
            rest = {**index, "limit": asked.limit, "cursor": cursor}
            following = f"/v1/projections/{quote(name, safe='')}/rows?{urlencode(rest)}"
        shown_rows = await rows_json(answer.rows)
        return json_answer(
            Rows(
                *(shown_rows, following, answer.positions, answer.missing, answer.stale, answer.is_truncated),
                answer.lag,
            )
        )

    async def rebuild(self, call: Call) -> Answer:
        """Begin to build rows anew."""
        name, text = self._known(call), call.parameters.aggregate
        aggregate = None
        if text is not None:
            if self._projections[name][-1].rekeyed:
                raise invalid("aggregate", f"{name} is re-keyed: its rows are built anew together")
            kind, slash, aggregate_id = text.partition("/")
            if not slash or not aggregate_id or kind not in self._projections[name][-1].wanted:
                kinds = ", ".join(self._projections[name][-1].wanted)
                raise invalid("aggregate", f"must be <kind>/<id>, of a kind that {name} has rows of: {kinds}")
            aggregate = (kind, aggregate_id)
            await self._expecting.require_there(*aggregate)
        return await self._begun(REBUILD, name, lambda: self._service.rebuild(name, aggregate))

    async def verify(self, call: Call) -> Answer:
        """Begin to compare."""
        name = self._known(call)

        async def asked() -> dict[str, Any]:
            return self._service.verification(name)

        return await self._begun(VERIFY, name, asked)

    async def resume(self, call: Call) -> Answer:
        """Have what failed go on."""
        return json_answer(await self._service.resume(self._known(call)))

    async def turn_back(self, call: Call) -> Answer:
        """Turn to the previous version."""
        return await self._turned(self._service.turn_back(self._known(call)))

    async def drop(self, call: Call) -> Answer:
        """Drop a version."""
        return await self._turned(self._service.drop(self._known(call), call.parameters.version))

    async def _begun(self, kind: str, name: str, ask: Callable[[], Awaitable[dict[str, Any]]]) -> Answer:
        try:
            self._jobs.require_room()
            job = await self._jobs.start(kind, name, await ask())
        except TooManyJobsError as error:
            raise too_many(error) from None
        except LookupError as error:
            raise not_found(str(error)) from None
        return json_answer(job_status(job), status=202, location=f"{JOBS}/{job.id}")

    async def _turned(self, turning: Awaitable[ProjectionStatus]) -> Answer:
        try:
            return json_answer(await turning)
        except TurnRefusedError as error:
            raise Problem(409, VERSION_IN_USE, str(error)) from None

    def _known(self, call: Call) -> str:
        name: str = call.parameters.projection
        if name not in self._projections:
            raise not_found(with_known("there is no projection", shown(name), self._projections))
        return name

    def _job(self, verb: str, summary: str, parameters: type[Struct], handler: Handler) -> Route:
        return Route(
            "POST",
            f"{PATH}/{verb}",
            Scope.ADMIN,
            summary,
            parameters,
            JobStatus,
            handler,
            status=202,
            answers_with=(LOCATION,),
        )

    def _done(self, verb: str, summary: str, parameters: type[Struct], handler: Handler) -> Route:
        path = f"{PATH}/{verb}"
        return Route(
            "POST",
            path,
            Scope.ADMIN,
            summary,
            parameters,
            ProjectionStatus,
            handler,
            problems=(409,),
        )


def columns_of(projections: Mapping[str, Sequence[Projection[Any]]]) -> list[str]:
    """Return the columns that rows of any projection are found by, in order."""
    return sorted({column for versions in projections.values() for column in versions[-1].parameters})


def rows_parameters(projections: Mapping[str, Sequence[Projection[Any]]]) -> type[Struct]:
    """Return the parameters of rows: those of all projections; each takes its own."""
    columns = columns_of(projections)
    fields: list[Any] = [("projection", str)]
    fields += [(column, str | None, None) for column in columns]
    fields += [("limit", Limit, PAGE), ("cursor", CursorText | None, None)]
    fields += [("expect", Expect, msgspec.field(default_factory=list)), ("wait", WaitExpected | None, None)]
    return msgspec.defstruct("RowsParameters", fields, frozen=True, kw_only=True)


def _require_terms(projection: Projection[Any], column: str, text: str) -> None:
    """Raise a Problem where a value leaves nothing to look for: all rows would be found by it, or none."""
    try:
        terms = wanted_of(projection, {column: text})
    except ValueError as error:
        raise invalid(column, str(error)) from None
    if not (text and terms):
        raise invalid(column, "has nothing to look for")
