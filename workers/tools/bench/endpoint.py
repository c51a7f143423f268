"""A webhook's endpoint in a process of its own: it takes its time, and says that all is well.

    python -m annals.workers.tools.bench.endpoint {"wait_s": …}

Prints `{"url": …}` once it listens on loopback. `GET` answers what was posted to it:
`{"posts": …, "seconds": …, "at_a_time": …}`: between the first request and the last answer, and how many at most
were open at a time.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from time import perf_counter
from typing import Any, Final

from aiohttp import web

LOOPBACK: Final = "127.0.0.1"
NO_CONTENT: Final = 204


class Endpoint:
    """What was posted."""

    def __init__(self, wait_s: float) -> None:
        """Take how long each answer takes."""
        self._wait_s = wait_s
        self._posts = self._open = self._at_a_time = 0
        self._first_at = self._last_at = 0.0

    async def post(self, request: web.Request) -> web.Response:
        """Take an event."""
        self._first_at = self._first_at or perf_counter()
        self._open += 1
        self._at_a_time = max(self._at_a_time, self._open)
        await request.read()
        await asyncio.sleep(self._wait_s)
        self._open -= 1
        self._posts += 1
        self._last_at = perf_counter()
        return web.Response(status=NO_CONTENT)

    async def get(self, request: web.Request) -> web.Response:
        """Say what was posted."""
        del request
        seconds = self._last_at - self._first_at
        return web.json_response({"posts": self._posts, "seconds": seconds, "at_a_time": self._at_a_time})


async def run(plan: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    endpoint = Endpoint(plan["wait_s"])
    application = web.Application()
    application.add_routes([web.post("/", endpoint.post), web.get("/", endpoint.get)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        port = runner.addresses[0][1]
        print(json.dumps({"url": f"http://{LOOPBACK}:{port}/"}), flush=True)  # noqa: T201 - this is how it answers
        await stopped.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
