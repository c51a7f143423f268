"""The worker's web server answers however many connect and say nothing, and lets go of them."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from annals.workers.telemetry import Metrics
from annals.workers.web.connections import BACKLOG, Connections, Limits, listen
from annals.workers.web.server import WebServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from annals.workers.exposition import Family

MOST = 20
WITHIN_S = 20.0


@contextlib.asynccontextmanager
async def serving(connections: Connections) -> AsyncIterator[int]:
    server = WebServer("127.0.0.1", 0, Metrics(), list, connections)
    try:
        yield await server.start()
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def silent(port: int, number: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that say nothing; beyond the server's own bound each is made when there is room for it."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


async def live(client: aiohttp.ClientSession, port: int) -> int:
    async with client.get(f"http://127.0.0.1:{port}/health/live") as answer:
        return answer.status


async def test_who_says_nothing_makes_room_for_who_asks() -> None:
    """Goes red with aiohttp's own site, which keeps all of them until files run out."""
    connections = Connections(most=MOST)
    async with serving(connections) as port, silent(port, 5 * MOST) as readers:
        async with aiohttp.ClientSession() as client:
            assert await live(client, port) == 200
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(*map(ended, readers[: 4 * MOST]))
        assert len(connections) <= MOST


class Counted(Connections):
    """Keeps how many were open at most."""

    peak = 0

    def heard(self, transport: asyncio.Transport) -> None:
        super().heard(transport)
        self.peak = max(self.peak, len(self))


async def test_those_who_come_all_at_once_are_no_more_than_there_may_be() -> None:
    """Goes red when one is ended for all who come in a turn of the loop: some thousands take all files."""
    connections = Counted(most=MOST)
    async with serving(connections) as port, asyncio.timeout(WITHIN_S):
        opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(10 * MOST)))
        async with aiohttp.ClientSession() as client:
            assert await live(client, port) == 200
        for _, writer in opened:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    assert connections.peak == MOST


async def test_who_asks_now_and_then_is_not_the_one_to_go() -> None:
    async with serving(Connections(most=MOST)) as port, aiohttp.ClientSession() as client:
        assert await live(client, port) == 200
        async with silent(port, MOST - 1) as readers, asyncio.timeout(WITHIN_S):
            assert await live(client, port) == 200
            async with silent(port, 1):
                await ended(readers[0])
                assert await live(client, port) == 200


async def test_a_silent_connection_is_closed_after_a_while_and_a_speaking_one_is_not() -> None:
    connections = Connections(limits=Limits(silent_s=0.3))
    async with serving(connections) as port, silent(port, 3) as readers, aiohttp.ClientSession() as client:
        async with asyncio.timeout(WITHIN_S):
            closing = asyncio.gather(*map(ended, readers))
            while not closing.done():
                assert await live(client, port) == 200
        assert len(connections) == 1


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET /health/live HTTP/1.1\r\n\r\n", b"Missing 'Host' header in request."),
        (b"GET / HTTP/1.1\r\nhost: x\r\nSECRET\r\n\r\n", b"Invalid header token"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"SECRET" * 2_000 + b"\r\n\r\n", b"8192 bytes"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"SECRET: y\r\n" * 101 + b"\r\n", b"100 headers"),
        (b"\x16\x03\x01\x02\x00\x01\x00SECRET\r\n\r\n", b"no HTTP request"),
    ],
)
async def test_what_is_no_http_is_told_why_and_comes_back_nowhere(
    sent: bytes, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Goes red with aiohttp's own answer and its log: an error with a traceback for each, and the client's bytes."""
    async with serving(Connections()) as port, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), answer
    assert said in answer
    assert b"SECRET" not in answer
    assert not caplog.records


@pytest.mark.parametrize("size", [40_000, 300_000, 8_000_000])
async def test_what_is_no_http_is_told_why_however_much_of_it_comes(size: int) -> None:
    """Goes red where the connection is closed with something in it that was not read: the client is reset."""
    async with serving(Connections()) as port, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01" * (size // 3))
        answer = await reader.read()
        writer.write(b"what comes behind the answer")
        writer.close()
        await writer.wait_closed()
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), answer
    assert b"no HTTP request" in answer


async def test_a_body_is_not_unpacked_and_makes_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Goes red where aiohttp unpacks what nobody reads: what is wrong with it was an error with a traceback."""
    async with serving(Connections()) as port, asyncio.timeout(WITHIN_S):
        for coding in (b"gzip", b"deflate", b"br", b"zstd"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-encoding: %b\r\n" % coding
            writer.write(head + b"content-length: 7\r\n\r\nnotgzip")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
    assert not caplog.records


async def test_a_defect_is_logged_and_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def reasons() -> list[str]:
        raise ZeroDivisionError("a secret")

    server = WebServer("127.0.0.1", 0, Metrics(), reasons)
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/health/ready") as answer:
            assert answer.status == 500
            assert "secret" not in await answer.text()
    finally:
        await server.stop()


async def test_who_is_being_answered_makes_no_room_for_who_says_nothing() -> None:
    """Goes red where a health check that waits for the process that reads goes before those who only connect."""
    asked, may = asyncio.Event(), asyncio.Event()

    class Slow:
        name = "read"

        async def answer(self) -> tuple[list[str], Sequence[Family]]:
            asked.set()
            await may.wait()
            return [], ()

    server = WebServer("127.0.0.1", 0, Metrics(), list, Connections(most=2), beside=Slow())
    port = await server.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            await asked.wait()
            async with silent(port, 3) as readers:
                await ended(readers[0])
                may.set()
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
    finally:
        await server.stop()


async def test_who_sends_the_rest_of_a_body_behind_the_answer_is_silent_then() -> None:
    """Goes red when it counts as being answered until it asks again: aiohttp would close it after an hour."""
    connections = Connections(limits=Limits(silent_s=0.3))
    async with serving(connections) as port, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /nowhere HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nab")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 404 " in head
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(b"cd")
        assert await reader.read() == b""
        writer.close()


async def test_nothing_is_left_to_do_when_all_are_gone() -> None:
    connections = Connections()
    async with serving(connections) as port, silent(port, 2):
        while (timer := connections._timer) is None:  # noqa: ASYNC110 - a turn of the loop, not a wait
            await asyncio.sleep(0)
    assert len(connections) == 0
    assert connections._timer is None
    assert timer.cancelled()  # a worker that stops leaves none behind


class Threadless:
    """A certificate that cannot be looked at: the machine has no thread left (the `Tls` port)."""

    @property
    def value(self) -> ssl.SSLContext:
        raise AssertionError("it was not looked at")

    async def refresh(self) -> None:
        raise RuntimeError("can't start new thread")


async def test_a_connection_whose_certificate_cannot_be_looked_at_does_not_stay_uncounted() -> None:
    """Goes red when it is left as it is: nobody would ever close it. No HTTP is spoken: the protocol stands for any."""
    connections = Connections()
    listening, port = await listen(connections.guard(cast("Any", SimpleNamespace), Threadless()), "127.0.0.1", 0)
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ended(reader)
        writer.close()
    listening.close()
    assert len(connections) == 0


def test_the_kernel_holds_few() -> None:
    assert BACKLOG <= 16
