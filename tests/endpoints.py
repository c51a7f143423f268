"""An endpoint of webhooks that a test has answer as it likes, on a real port."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Posted(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def cid(self) -> str:
        return self.headers["webhook-id"]


class Endpoint:
    """posted: all requests, in the order in which they came. answer: what becomes of one."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], Any] = lambda _: 204
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        posted = Posted(request.path_qs, headers, await request.read())
        self.posted.append(posted)
        answer = self.answer(posted)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return web.Response(status=answer) if isinstance(answer, int) else answer

    def cids(self) -> list[str]:
        return [each.cid for each in self.posted]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Endpoint]:
        server = web.Server(self.handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
        try:
            yield self
        finally:
            await runner.cleanup()


@asynccontextmanager
async def raw_server(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A server of bytes; returns its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()
