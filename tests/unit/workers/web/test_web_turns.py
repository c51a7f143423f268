"""Whoever asks the web server again and again has its turns, and those who seldom ask do not wait for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from annals.workers.telemetry import Metrics
from annals.workers.web import turns
from annals.workers.web.server import WebServer
from annals.workers.web.turns import Turns
from following import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

WITHIN_S = 60.0
FLOOD = 40


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def ask(connection: Connection, path: str) -> bytes:
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    await reader.readexactly(int(length.removeprefix(b"content-length: ")))
    return head.split(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/nothing", "/v1/schemas/urn:x"])
async def test_who_seldom_asks_is_answered_before_those_who_ask_again_and_again(path: str) -> None:
    """Goes red without turns, and when whoever asked first has the next one: each then waits for all of the flood."""
    server, answered = WebServer("127.0.0.1", 0, Metrics(), list), 0
    port = await server.start()

    async def again_and_again(connection: Connection) -> None:
        nonlocal answered
        while True:
            await ask(connection, path)
            answered += 1

    try:
        async with asyncio.timeout(WITHIN_S), AsyncExitStack() as stack:
            flood = [await stack.enter_async_context(connected(port)) for _ in range(FLOOD)]
            for each in flood:  # nobody has its first turn
                await ask(each, "/health/live")
            tasks = [asyncio.create_task(again_and_again(each)) for each in flood]
            await until(lambda: answered > FLOOD + 5)
            for probed in ("/health/ready", "/metrics"):
                async with connected(port) as probe:
                    before = answered
                    assert await ask(probe, probed) == b"HTTP/1.1 200 OK"
                    assert answered - before < FLOOD / 2
            for task in tasks:
                task.cancel()
    finally:
        await server.stop()


async def test_a_kept_connection_does_not_wait_for_one_who_makes_a_new_one_each_time() -> None:
    """Goes red when new ones always come first: `while curl …/metrics` beside a scraper has it wait for seconds."""
    server, answered = WebServer("127.0.0.1", 0, Metrics(), list), 0
    port = await server.start()

    async def again_and_again() -> None:
        nonlocal answered
        while True:
            async with connected(port) as connection:
                await ask(connection, "/metrics")
            answered += 1

    try:
        async with asyncio.timeout(WITHIN_S), connected(port) as scraper:
            await ask(scraper, "/metrics")
            asking = asyncio.create_task(again_and_again())
            await until(lambda: answered > 2)
            for _ in range(3):
                before = answered
                assert await ask(scraper, "/metrics") == b"HTTP/1.1 200 OK"
                assert answered - before <= 3
            asking.cancel()
    finally:
        await server.stop()


async def test_turns_are_so_many_a_second_and_who_has_had_none_for_longest_is_next() -> None:
    paced, order = Turns(100), []
    loop = asyncio.get_running_loop()

    async def wait(name: str, last: float) -> None:
        await paced.wait(last)
        order.append(name)

    began = loop.time()
    await wait("first", 9)
    waiting = [asyncio.create_task(wait(*each)) for each in [("c", 3), ("a", 1), ("gone", 0), ("b", 2), ("d", 3)]]
    await asyncio.sleep(0)
    waiting.pop(2).cancel()
    await asyncio.wait_for(asyncio.gather(*waiting), WITHIN_S)
    assert order == ["first", "a", "b", "c", "d"]
    assert loop.time() - began >= 0.04


async def test_new_ones_and_kept_ones_take_turns() -> None:
    paced, order = Turns(1000), []

    async def wait(name: str, last: float | None) -> None:
        await paced.wait(last)
        order.append(name)

    await wait("first", None)
    asked = [("new 1", None), ("kept 2", 2.0), ("new 2", None), ("kept 1", 1.0), ("new 3", None), ("new 4", None)]
    await asyncio.wait_for(asyncio.gather(*(wait(*each) for each in asked)), WITHIN_S)
    assert order == ["first", "kept 1", "new 1", "kept 2", "new 2", "new 3", "new 4"]


async def test_who_waits_when_the_server_stops_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a stop takes as long as all who wait have turns: 128 of them, more than six seconds."""
    monkeypatch.setattr(turns, "METRICS_PER_S", 1 / 3600)
    asked, wait = 0, Turns.wait

    async def counted(self: Turns, last: float | None) -> None:
        nonlocal asked
        asked += 1
        await wait(self, last)

    monkeypatch.setattr(Turns, "wait", counted)
    server = WebServer("127.0.0.1", 0, Metrics(), list)
    port = await server.start()
    async with asyncio.timeout(WITHIN_S), connected(port) as first, connected(port) as second:
        await ask(first, "/metrics")
        waiting = [asyncio.create_task(ask(each, "/metrics")) for each in (first, second)]
        await until(lambda: asked == len(waiting) + 1)
        await server.stop()
        assert await asyncio.gather(*waiting) == [b"HTTP/1.1 200 OK"] * 2
