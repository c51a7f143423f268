"""The worker's web server: `/health/live`, `/health/ready`, `/metrics` and `/v1/schemas/{urn}`.

Faust's own server is off: it shows tables and statistics to whoever asks.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from aiohttp import web

from annals.workers.exposition import as_text, families_of
from annals.workers.settings import ROLES, WRITE
from annals.workers.web import schemas
from annals.workers.web.connections import Connections, listen
from annals.workers.web.protocol import UnknownMethodError, what_is_wrong
from annals.workers.web.turns import Pace, PacedProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client import CollectorRegistry

    from annals.workers.exposition import Family

_DEFECT: Final = 500
_logger: Final = structlog.get_logger(__name__)
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Protocol):
    """The metrics of this process."""

    @property
    def registry(self) -> CollectorRegistry:
        """All of them."""

    @property
    def ready(self) -> Any:
        """The gauge of readiness."""


class Beside(Protocol):
    """A role of the worker that another process has."""

    @property
    def name(self) -> str:
        """The role."""

    async def answer(self) -> tuple[list[str], Sequence[Family]]:
        """Return why it is not ready (empty: it is), and its metrics."""


class WebServer:
    """Serves health and metrics of all roles of a worker on one address."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Metrics,
        reasons: Callable[[], list[str]],
        connections: Connections | None = None,
        *,
        role: str = WRITE,
        beside: Beside | None = None,
    ) -> None:
        """Take the address (port 0: a free one), the metrics, and why the role is not ready (empty: it is).

        connections: those that may be open; None: as many as are enough. role: of this process; beside: the role of
        another one.
        """
        self._host = host
        self._port = port
        self._metrics = metrics
        self._reasons = reasons
        self._connections = Connections() if connections is None else connections
        self._role = role
        self._beside = beside
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self.routes: list[tuple[str, Callable[[web.Request], Awaitable[web.Response]]]] = [
            ("/health/live", self._live),
            ("/health/ready", self._ready),
            ("/metrics", self._text),
            (schemas.PATH, schemas.schema),
        ]

    async def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address is taken, or not this machine's.
        """
        pace = Pace()
        app = web.Application(middlewares=[web.middleware(pace)])
        app.on_shutdown.append(pace.end)
        app.add_routes([web.get(path, handler) for path, handler in self.routes])
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)  # who is gone waits for no turn
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 - `setup` made it
        # not by aiohttp's own site: it takes connections without a bound
        server, loop, answer_of = self._runner.server, asyncio.get_running_loop(), partial(_answer_of, app.router)
        factory = self._connections.guard(lambda: PacedProtocol(server, answer_of, loop=loop))
        self._listening, port = await listen(factory, self._host, self._port)
        return port

    async def stop(self) -> None:
        """Close all connections."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        return web.json_response({"status": "live"})

    async def _beside_answers(self) -> tuple[list[str], Sequence[Family]]:
        return ([], ()) if self._beside is None else await self._beside.answer()

    async def _ready(self, request: web.Request) -> web.Response:
        asked = request.query.get("role")
        if asked is not None and asked not in ROLES:
            error = f"there is no role {asked!r}, only {' and '.join(ROLES)}"
            return web.json_response({"error": error}, status=400)
        of_role = {self._role: self._reasons()}
        if self._beside is not None:
            of_role[self._beside.name] = (await self._beside_answers())[0]
        if asked is not None:
            of_role = {asked: of_role.get(asked, ["this worker does not have the role (ANNALS_ROLES)"])}
        reasons = [f"{role}: {reason}" for role, reasons in of_role.items() for reason in reasons]
        if reasons:
            return web.json_response({"status": "not ready", "reasons": reasons}, status=503)
        return web.json_response({"status": "ready", "reasons": []})

    async def _text(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        reasons, families = await self._beside_answers()
        self._metrics.ready.set(not (self._reasons() or reasons))
        own = families_of(self._metrics.registry, None if self._role == WRITE else self._role)
        return web.Response(body=as_text(own, families), headers={"content-type": PROMETHEUS})


def _answer_of(
    router: web.UrlDispatcher, request: web.BaseRequest, status: int, error: BaseException | None
) -> web.Response:
    """Return what is wrong, as text; a method that the parser does not know is answered as every other wrong one."""
    if status >= _DEFECT:
        _logger.error("a request failed by a defect", path=request.path, exc_info=error)
        return web.Response(status=status, text=f"{status}: this request failed by a defect; the log has it")
    if not isinstance(error, UnknownMethodError):
        return web.Response(status=status, text=f"{status}: {what_is_wrong(error)}")
    if allowed := _methods(router, error.target.partition("?")[0]):
        return web.Response(status=405, text="405: Method Not Allowed", headers={"allow": ",".join(allowed)})
    return web.Response(status=404, text="404: Not Found")


def _methods(router: web.UrlDispatcher, path: str) -> list[str]:
    """Return the methods that a path has; none: there is no such path."""
    return sorted({route.method for resource in router.resources() if _is_of(resource, path) for route in resource})


def _is_of(resource: web.AbstractResource, path: str) -> bool:
    about = resource.get_info()
    return about["pattern"].fullmatch(path) is not None if "pattern" in about else about.get("path") == path
