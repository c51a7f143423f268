"""The API's server: it listens, hands requests to the kernel, and says what is wrong with what is no HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from annals.workers.api.callers.authentication import BearerAuthenticator, LoopbackAuthenticator
from annals.workers.api.callers.credentials import tls_of, tokens_of
from annals.workers.api.callers.rates import RateLimit
from annals.workers.api.http.answers import problem_response
from annals.workers.api.http.openapi import OpenApi
from annals.workers.api.http.problems import INTERNAL_ERROR, INVALID_REQUEST, Problem
from annals.workers.api.http.routing import Router
from annals.workers.api.http.targets import target_sent
from annals.workers.api.routes.described import described_routes
from annals.workers.api.serving.kernel import Kernel, request_id_of
from annals.workers.web.connections import Connections, listen
from annals.workers.web.protocol import HttpProtocol, UnknownMethodError, what_is_wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.workers.api.audit import AuditLog
    from annals.workers.api.callers.authentication import Authenticator
    from annals.workers.api.http.routing import Route
    from annals.workers.api.serving.metrics import ApiMetrics
    from annals.workers.settings import Settings

SHUTDOWN_S: Final = 2.0
BACKLOG: Final = 128


class ApiServer:
    """Serves routes on `ANNALS_API_HOST` and `ANNALS_API_PORT`."""

    def __init__(
        self,
        settings: Settings,
        routes: Sequence[Route],
        metrics: ApiMetrics,
        *,
        audit: AuditLog | None = None,
        authenticators: Sequence[Authenticator] = (),
        connections: Connections | None = None,
    ) -> None:
        """Take the settings and the routes; the description, its page and the callers' tokens are added to them.

        authenticators: asked before the tokens are. audit: None: administrative calls are answered 503.

        Raises:
            SettingsError: it would serve strangers, or a file of the settings cannot be used.
        """
        sources = tokens_of(settings)
        self._host, self._port = settings.api_host, settings.api_port
        self._tls = tls_of(settings)
        callers = BearerAuthenticator(sources) if sources else LoopbackAuthenticator()
        document = OpenApi(routes, is_open=not sources)
        self.router: Final = Router([*routes, *described_routes(document)])
        self._connections = Connections(settings.api_connections) if connections is None else connections
        self._kernel = Kernel(
            self.router,
            [*authenticators, callers],
            RateLimit(settings.api_requests_per_second),
            metrics,
            settings.api_timeout_s,
            audit,
        )
        self._runner: web.ServerRunner | None = None
        self._listening: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address is taken, or not this machine's.
        """
        server = _Server(self._kernel.handle, self.router)
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        factory = self._connections.guard(server, self._tls)
        try:
            self._listening, port = await listen(factory, self._host, self._port, BACKLOG)
        except OSError:
            await self._runner.cleanup()
            raise
        return port

    async def stop(self) -> None:
        """Close all connections; what is being answered has a moment to be."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()


class _Server(web.Server):
    """Makes protocols that answer what is no HTTP with a problem, too."""

    def __init__(self, handle: Any, router: Router) -> None:
        super().__init__(handle, handler_cancellation=True)  # or who asks and goes leaves its question behind
        self._router = router

    def __call__(self) -> HttpProtocol:
        return HttpProtocol(self, self._answer_of, loop=asyncio.get_running_loop())

    def _answer_of(self, request: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
        return problem_response(self._problem_of(status, error), request_id_of(request))

    def _problem_of(self, status: int, error: BaseException | None) -> Problem:
        if status >= 500:
            return Problem(status, INTERNAL_ERROR, "this request failed by a defect")
        if isinstance(error, UnknownMethodError):
            try:
                self._router.match(error.method, target_sent(error.target).path.partition("?")[0])
            except Problem as problem:  # no route is of such a method
                return problem
        return Problem(status, INVALID_REQUEST, what_is_wrong(error))
