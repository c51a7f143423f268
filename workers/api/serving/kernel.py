"""What happens to a request: its id, who asks, how often, which route, its parameters, its body; then the handler.

Whatever fails becomes a problem here, and nothing else reaches the caller: no traceback, no name of a class.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.reading.ports import (
    BrokenChainError,
    NotReadyError,
    UnreadableEventError,
)
from annals.schemas.audit import AuditEntry
from annals.schemas.values.moments import recorded_at
from annals.workers.api.callers.authentication import check_scope, unauthorized
from annals.workers.api.callers.forwarding import HEADER as FORWARDED
from annals.workers.api.http.answers import problem_response, respond
from annals.workers.api.http.parameters import read_parameters, read_query
from annals.workers.api.http.problems import (
    BROKEN_CHAIN,
    INTERNAL_ERROR,
    UNREADABLE_EVENT,
    Problem,
    invalid,
    not_ready,
    timed_out,
)
from annals.workers.api.http.routing import CALL, Call, Match, Principal
from annals.workers.api.http.targets import target_of
from annals.workers.api.serving.bodies import Body, Room
from annals.workers.api.serving.deadlines import Deadlines, OverdueError
from annals.workers.clock import SystemClock, new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from annals.workers.api.audit import AuditLog
    from annals.workers.api.callers.authentication import Authenticator
    from annals.workers.api.callers.rates import RateLimit
    from annals.workers.api.http.routing import Answer, Route, Router
    from annals.workers.api.serving.metrics import ApiMetrics

LARGEST_BODY: Final = 1 << 20
REQUEST_ID: Final = "x-request-id"
NO_ROUTE: Final = "none"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_NOBODY: Final = Principal("anonymous", frozenset())
_logger: Final = structlog.get_logger(__name__)


class Kernel:
    """Answers requests by routes."""

    def __init__(
        self,
        router: Router,
        authenticators: Sequence[Authenticator],
        rate: RateLimit,
        metrics: ApiMetrics,
        timeout_s: float,
        audit: AuditLog | None = None,
    ) -> None:
        """Take the routes, who knows callers, and the bounds. audit: None: administrative calls are not answered."""
        self._router = router
        self._authenticators = authenticators
        self._rate = rate
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._audit = audit
        self._clock = SystemClock()
        self._room = Room()
        self._deadlines = Deadlines()
        self._changing: set[asyncio.Task[Answer]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        request_id = request_id_of(request)
        started = self._clock.monotonic()
        path = target_of(request).path
        match, problem = self._match(request.method, path)
        route = NO_ROUTE if match is None else match.route.path
        body = Body(request, LARGEST_BODY if match is None else match.route.most_body_bytes, self._room)
        try:
            call = await self._checked(request, request_id, path, match, problem, body)
            assert match is not None  # noqa: S101 - `_checked` raises the problem
            answer = await self._answered(call, match.route)
            response = await respond(request, call, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem
            problem = self._problem_of(error, request_id, route)
            response = problem_response(problem, request_id)
        finally:
            body.close()
        seconds = self._clock.monotonic() - started
        self._metrics.answered(route, _method(request), response.status, seconds)
        _logger.debug(
            "request answered",
            request_id=request_id,
            method=request.method,
            route=route,
            status=response.status,
            seconds=round(seconds, 6),
        )
        return response

    def _match(self, method: str, path: str) -> tuple[Match | None, Problem | None]:
        try:
            return self._router.match(method, path.partition("?")[0]), None
        except Problem as problem:
            return None, problem

    async def _checked(
        self,
        request: web.BaseRequest,
        request_id: str,
        path: str,
        match: Match | None,
        problem: Problem | None,
        body: Body,
    ) -> Call:
        is_open = match is not None and match.route.scope is None and FORWARDED not in request.headers
        principal = _NOBODY if is_open else await self._principal(request, body)
        if not principal.is_forwarded:  # who passes it on has counted it
            self._rate.hit(_caller(request) if principal is _NOBODY else f"principal {principal.name}")
        if match is None:
            raise problem or not_ready("no route")
        route = match.route
        check_scope(principal, route, match.values)
        query = read_query(path.partition("?")[2])
        parameters = read_parameters(route.parameters, match.values, query)
        text = await body.read()
        if route.body is None and text:
            raise invalid("", "this takes no body")
        wait_s = getattr(parameters, "wait", None) or 0.0
        now = self._clock.monotonic()
        deadline = now + self._timeout_s + wait_s
        return Call(parameters, text, request.headers, path, principal, request_id, now, deadline)

    async def _principal(self, request: web.BaseRequest, body: Body) -> Principal:
        try:
            for authenticator in self._authenticators:
                principal = await authenticator.principal(request, body.read)
                if principal is not None:
                    return principal
            raise unauthorized("a bearer token is needed: `Authorization: Bearer …`")
        except Problem:
            self._rate.hit(_caller(request))
            raise

    async def _answered(self, call: Call, route: Route) -> Answer:
        """Answer; a question ends when its caller is gone, and whatever changes something goes on to its end."""
        if route.method == "GET" or route.is_stream:
            return await self._recorded(call, route)
        task = asyncio.create_task(self._recorded(call, route), name=f"{route.method} {route.path}")
        self._changing.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Answer]) -> None:
        self._changing.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked was told

    async def _recorded(self, call: Call, route: Route) -> Answer:
        """Answer, and record an administrative call before it is done, and before it is answered."""
        if not route.is_administrative:
            return await self._handled(call, route)
        if self._audit is None:
            raise not_ready("administrative calls cannot be recorded here: there is no topic `audit`")
        await self._audit.write(self._entry(call, route, None))
        try:
            answer = await self._handled(call, route)
        except Exception as error:
            problem = self._problem_of(error, call.request_id, route.path)
            await self._audit.write(self._entry(call, route, problem.status, problem.code))
            raise problem from error
        await self._audit.write(self._entry(call, route, answer.status))
        return answer

    def _entry(self, call: Call, route: Route, status: int | None, code: str | None = None) -> AuditEntry:
        at = recorded_at(self._clock.now())
        return AuditEntry(call.request_id, call.principal.name, route.method, call.path, at, status, code)

    async def _handled(self, call: Call, route: Route) -> Answer:
        token = CALL.set(call)
        try:
            answer = route.handler(call)
            return await (answer if route.is_stream else self._deadlines.within(call.deadline, answer))
        except OverdueError:
            late = "this took longer than a request may"
            if route.method == "GET":
                raise timed_out(late) from None
            raise timed_out(f"{late}, and may have been done: look at what there is before you ask again") from None
        finally:
            CALL.reset(token)

    def _problem_of(self, error: Exception, request_id: str, route: str) -> Problem:
        match error:
            case Problem():
                return error
            case NotReadyError():
                return not_ready(str(error))
            case UnreadableEventError():
                return Problem(500, UNREADABLE_EVENT, str(error))
            case BrokenChainError():
                _logger.error("an answer was withheld: the chain is broken", request_id=request_id, reason=str(error))
                return Problem(500, BROKEN_CHAIN, str(error))
            case _:
                _logger.error("a request failed by a defect", request_id=request_id, route=route, exc_info=error)
                return Problem(500, INTERNAL_ERROR, "this request failed by a defect; the log has it under its id")


def request_id_of(request: web.BaseRequest) -> str:
    """Return the caller's id of a request if it is a sane one, else a new one."""
    given = request.headers.get(REQUEST_ID, "")
    return given if _SANE_ID.fullmatch(given) else new_id()


def _method(request: web.BaseRequest) -> str:
    """Return the method as a label: one that a stranger makes up makes no series."""
    return request.method if request.method in METHODS else "other"


def _caller(request: web.BaseRequest) -> str:
    return f"address {request.remote}"
