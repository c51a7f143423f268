"""The worker's web server: `/health/live`, `/health/ready`, `/metrics` and `/v1/schemas/{urn}`.

Faust's own server is off: it shows tables and statistics to whoever asks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from annals.workers.web import schemas
from annals.workers.web.connections import BACKLOG, Connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.workers.telemetry import Metrics

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class WebServer:
    """Serves health and metrics on one address."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Metrics,
        reasons: Callable[[], list[str]],
        connections: Connections | None = None,
    ) -> None:
        """Take the address (port 0: a free one), the metrics, and why the worker is not ready (empty: it is).

        connections: those that may be open; None: as many as are enough.
        """
        self._host = host
        self._port = port
        self._metrics = metrics
        self._reasons = reasons
        self._connections = Connections() if connections is None else connections
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
        app = web.Application()
        app.add_routes([web.get(path, handler) for path, handler in self.routes])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 - `setup` made it
        # not by aiohttp's own site: it takes connections without a bound
        factory = self._connections.guard(self._runner.server)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(factory, self._host, self._port, backlog=BACKLOG)
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close all connections."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        return web.json_response({"status": "live"})

    async def _ready(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        reasons = self._reasons()
        if reasons:
            return web.json_response({"status": "not ready", "reasons": reasons}, status=503)
        return web.json_response({"status": "ready", "reasons": []})

    async def _text(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        self._metrics.ready.set(not self._reasons())
        return web.Response(body=self._metrics.text(), headers={"content-type": PROMETHEUS})
