"""What clients may make the API hold: connections, requests that nobody waits for, bodies, and answers not taken."""

import asyncio
import contextlib
import gc
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.routing import Answer, NoParameters, Route, Scope
from annals.workers.settings import Settings
from annals.workers.web.connections import Connections, Limits
from annals.workers.web.protocol import HttpProtocol
from api_serving import Audit, serving
from following import until

TLS = Path(__file__).parents[3] / "integration/tls"
WITHIN_S = 30
QUICK = Limits(head_s=0.3, stalled_s=0.3)
ASK = b"GET /v1/x HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Said(Struct):
    text: str


def route(handler, method="GET", path="/v1/x", scope=Scope.READ, **options):
    return Route(method, path, scope, "x", NoParameters, Said, handler, **options)


async def said(call):
    return json_answer(Said("x"))


class Held:
    """A route that answers when it is told to; `asked` counts those who wait for it."""

    def __init__(self):
        self.asked, self.answered, self.may = 0, 0, asyncio.Event()

    async def __call__(self, call):
        self.asked += 1
        try:
            await self.may.wait()
            self.answered += 1
            return json_answer(Said("x"))
        finally:
            self.asked -= 1


@contextlib.asynccontextmanager
async def connected(port, number=1, sent=b""):
    """Connections that have sent something."""
    opened = [await asyncio.open_connection("127.0.0.1", port, limit=1 << 26) for _ in range(number)]
    for _, writer in opened:
        writer.write(sent)
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_questions_end_with_the_connections_of_those_who_asked():
    """Goes red where a handler goes on: who connects, asks and goes leaves a question of a minute behind, each time."""
    held, connections = Held(), Connections()
    async with serving([route(held)], connections=connections) as api, asyncio.timeout(WITHIN_S):
        async with connected(api.port, 50, ASK):
            await until(lambda: held.asked == 50)
        await until(lambda: held.asked == 0)
    assert held.answered == 0
    assert not connections._answering, "what is gone is not being answered"


async def asked_and_shut(port, sent):
    """All that comes to a client that shuts its side behind what it sends."""
    async with connected(port, 1, sent) as [(reader, writer)]:
        writer.write_eof()
        return await reader.read()


async def test_who_shuts_its_side_behind_its_questions_is_answered():
    """Goes red when one that waits for its answer is taken for one that is gone."""
    async with serving([route(said)]) as api, asyncio.timeout(WITHIN_S):
        for count in (1, 3):
            answer = await asked_and_shut(api.port, count * ASK)
            assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b'{"text":"x"}') == count
        assert await asked_and_shut(api.port, ASK[:-2]) == b""


async def test_who_shuts_its_side_is_answered_when_the_answer_is_there_and_is_let_go_behind_it(monkeypatch):
    """Goes red when the connection is held until a bound on it comes, which is an hour here."""
    monkeypatch.setattr("annals.workers.web.connections.LINGER_S", 3600)
    held, connections, shut = Held(), Connections(), []
    told = HttpProtocol.eof_received

    def tell(self):
        told(self)
        shut.append(self)

    monkeypatch.setattr(HttpProtocol, "eof_received", tell)
    async with serving([route(held)], connections=connections) as api, asyncio.timeout(WITHIN_S):
        for count in (1, 3):
            async with connected(api.port, 1, count * ASK) as [(reader, writer)]:
                writer.write_eof()
                await until(lambda: held.asked == 1 and shut)
                held.may.set()
                answer = await reader.read()
            assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b'{"text":"x"}') == count
            held.may.clear()
            shut.clear()
        await until(lambda: len(connections) == 0)


async def test_a_question_that_lasts_ends_soon_when_its_client_has_shut_its_side():
    held = Held()
    async with serving([route(held)]) as api, asyncio.timeout(WITHIN_S):
        assert await asked_and_shut(api.port, ASK) == b""
        await until(lambda: held.asked == 0)
    assert held.answered == 0


async def test_a_change_whose_caller_is_gone_is_done_and_recorded_to_its_end():
    held, audit = Held(), Audit()
    change = route(held, "POST", scope=Scope.ADMIN)
    async with serving([change], audit=audit) as api, asyncio.timeout(WITHIN_S):
        async with connected(api.port, sent=ASK.replace(b"GET", b"POST")):
            await until(lambda: held.asked == 1)
        held.may.set()
        await until(lambda: [each.status for each in audit.entries] == [None, 200])


@pytest.mark.parametrize("is_whole", [True, False])
async def test_what_is_behind_a_request_waits_outside_until_that_is_answered(is_whole):
    """Goes red where aiohttp takes in 32 heads, and a part of one more: each of 800 KB, for each connection."""
    held, taken = Held(), []
    behind = ASK[:-2] + b"".join(b"x-%d: %b\r\n" % (n, b"y" * 8_000) for n in range(90)) + b"\r\n" * is_whole

    async with serving([route(held)]) as api, connected(api.port, sent=ASK) as ((reader, writer),):
        async with asyncio.timeout(WITHIN_S):
            await until(lambda: held.asked == 1)
            protocol = next(each for each in gc.get_objects() if isinstance(each, HttpProtocol) and each.has_request)
            told = protocol.data_received

            def take(self, data):
                taken.append(len(data))
                told(data)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(HttpProtocol, "data_received", take)
                writer.write(behind)
                transport = protocol.transport
                await until(lambda: not transport.is_reading())
            assert sum(taken) == 0
            held.may.set()
            answers = await reader.read()
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert answers.count(b"HTTP/1.1 431 ") == 1, answers[-300:]


async def test_requests_behind_one_another_are_all_answered_in_their_order():
    """More of them than are handed on at once, with bodies between them, and an end behind the last."""

    async def echo(call):
        return Answer(call.body or b"-", content_type="text/plain")

    routes = [route(echo), route(echo, "POST", body=Said)]
    asked = b"".join(
        ASK.replace(b"GET", b"POST")[:-2] + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % size
        + b"%d" % number * size + ASK
        for number, size in enumerate((3, 70_000, 200_000, 1, 16_384))
    )  # fmt: skip
    async with serving(routes) as api, asyncio.timeout(WITHIN_S):
        answers = await asked_and_shut(api.port, asked * 3)
    assert answers.count(b"HTTP/1.1 200 OK") == 30
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert [body[:1] for body in bodies] == [b"0", b"-", b"1", b"-", b"2", b"-", b"3", b"-", b"4", b"-"] * 3


async def test_a_head_that_does_not_become_whole_is_refused_however_busily_it_comes():
    async with (
        serving([route(said)], connections=Connections(limits=QUICK)) as api,
        connected(api.port, sent=b"GET /v1/x HTTP/1.1\r\n") as ((reader, writer),),
        asyncio.timeout(WITHIN_S),
    ):
        # No further: what is sent once the server has closed is answered by a reset, and what follows is lost with it.
        status = asyncio.create_task(reader.readuntil(b"\r\n"))
        while not status.done():
            writer.write(b"x: y\r\n")
            await asyncio.wait({status}, timeout=0.05)
        assert (await status).startswith(b"HTTP/1.1 408 ")


async def test_a_head_of_many_headers_is_refused_before_it_is_whole():
    async with (
        serving([route(said)]) as api,
        connected(api.port, sent=ASK[:-2] + b"".join(b"x-%d: %b\r\n" % (n, b"y" * 8_000) for n in range(90))) as opened,
        asyncio.timeout(WITHIN_S),
    ):
        ((reader, _),) = opened
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:300]
        assert (await api("GET", "/v1/x"))[0] == 200


@pytest.mark.parametrize("before", [b"", ASK * 3])
@pytest.mark.parametrize("size", [40_000, 300_000, 8_000_000])
async def test_what_is_no_http_is_answered_however_much_of_it_comes(before, size):
    """Goes red where the connection is closed with something in it that was not read: the client is reset."""
    async with (
        serving([route(said)]) as api,
        connected(api.port, sent=before) as ((reader, writer),),
        asyncio.timeout(WITHIN_S),
    ):
        for _ in range(before.count(b"GET")):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"\x16\x03\x01" * (size // 3))
        answer = await reader.read()
        assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), answer[:300]
        assert b"no HTTP request" in answer


async def test_requests_that_follow_one_another_are_answered_however_slowly_the_connection_is_used():
    """A connection that is kept is not one whose request does not become whole."""
    limits = Limits(head_s=0.1)
    async with (
        serving([route(said)], connections=Connections(limits=limits)) as api,
        connected(api.port) as ((reader, writer),),
        asyncio.timeout(WITHIN_S),
    ):
        for _ in range(3):
            writer.write(ASK)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.25)


async def test_a_body_that_comes_slowly_is_no_head_that_does():
    async with (
        serving([route(said, "POST", body=Said)], connections=Connections(limits=Limits(head_s=0.1))) as api,
        connected(api.port) as ((reader, writer),),
        asyncio.timeout(WITHIN_S),
    ):
        writer.write(ASK.replace(b"GET", b"POST")[:-2] + b"content-type: application/json\r\ncontent-length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(b"1")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")


async def test_answers_that_nobody_takes_are_bounded_together_and_others_are_answered():
    """Goes red where each waits for its reader: as many times the largest answer as there may be connections."""
    size, bound = 8 << 20, 32 << 20

    async def large(call):
        return Answer(bytes(size), content_type="text/plain")

    connections = Connections(limits=Limits(unsent_bytes=bound))
    async with (
        serving([route(large), route(said, path="/v1/y")], connections=connections) as api,
        connected(api.port, 30) as opened,
        asyncio.timeout(WITHIN_S),
    ):
        for _, writer in opened:
            writer.transport.pause_reading()
            writer.write(ASK)
            assert (await api("GET", "/v1/y"))[0] == 200
        await until(lambda: len(connections) < 30)
        assert sum(each.get_write_buffer_size() for each in connections._unsent) <= bound + size
        # Who reads gets all of it.
        assert len((await api("GET", "/v1/x"))[2]) == size


async def test_an_answer_of_which_nothing_is_taken_goes_and_one_that_is_taken_slowly_stays():
    size = 24 << 20

    async def large(call):
        return Answer(bytes(size), content_type="text/plain")

    limits = Limits(stalled_s=2.0, silent_s=2.0)
    connections = Connections(limits=limits)
    async with (
        serving([route(large)], connections=connections) as api,
        connected(api.port, 2) as ((_, idle), _),
        asyncio.timeout(WITHIN_S),
    ):
        idle.transport.pause_reading()
        idle.write(ASK)
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", api.port)) as slow:
            slow.setblocking(False)  # noqa: FBT003 - its signature
            await loop.sock_sendall(slow, ASK)
            read = 0
            while read < size:
                part = await loop.sock_recv(slow, 1 << 20)
                assert part, "the connection was closed"
                read += len(part)
                await asyncio.sleep(0.03)
        await until(lambda: len(connections) <= 2)
        assert idle.transport not in connections._unsent


async def test_bodies_of_all_requests_are_bounded_together(monkeypatch):
    """Goes red where each is taken: as many times a megabyte as there may be connections."""
    monkeypatch.setattr("annals.workers.api.serving.bodies.Room.__init__.__defaults__", (3_000_000,))
    held = Held()
    body = b"content-type: application/json\r\ncontent-length: 1000000\r\n\r\n" + b" " * 1_000_000
    asked = ASK.replace(b"GET", b"POST")[:-2] + body
    async with (
        serving([route(held, "POST", body=Said), route(said, path="/v1/y")]) as api,
        connected(api.port, 3, asked) as opened,
        asyncio.timeout(WITHIN_S),
    ):
        await until(lambda: held.asked == 3)
        async with connected(api.port, 1, asked) as ((reader, _),):
            assert b" 503 " in await reader.readline()
        assert (await api("GET", "/v1/y"))[0] == 200
        held.may.set()
        for reader, _ in opened:
            assert b" 200 " in await reader.readline()
        async with connected(api.port, 1, asked) as ((reader, _),):
            assert b" 200 " in await reader.readline()


async def test_who_never_agrees_on_tls_is_counted_and_makes_room():
    """Goes red where asyncio agrees on it by itself: for a minute nobody knows of such a connection."""
    settings = Settings(api_port=0, api_certfile=TLS / "broker.pem", api_keyfile=TLS / "broker.pem")
    connections = Connections(most=10)
    async with serving([route(said)], settings, connections=connections) as api, asyncio.timeout(WITHIN_S):
        context = ssl.create_default_context(cafile=str(TLS / "authority.pem"))
        context.check_hostname = False
        async with connected(api.port, 40), connected(api.port, 5, b"no TLS at all\r\n\r\n"):
            await until(lambda: 0 < len(connections) <= 10)
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port, ssl=context)
            writer.write(ASK)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_tls_that_is_not_agreed_on_in_time_is_closed():
    settings = Settings(api_port=0, api_certfile=TLS / "broker.pem", api_keyfile=TLS / "broker.pem")
    connections = Connections(limits=QUICK)
    async with (
        serving([route(said)], settings, connections=connections) as api,
        connected(api.port, 3) as opened,
        asyncio.timeout(WITHIN_S),
    ):
        for reader, _ in opened:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert len(connections) == 0


async def test_a_certificate_that_was_replaced_is_served_without_a_restart(tmp_path, monkeypatch):
    """Goes red where it is read at the start alone: a worker that runs for months serves one that has expired."""
    monkeypatch.setattr("annals.workers.settings.watched.LOOK_S", 0.0)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for path in (certificate, key):
        path.write_bytes((TLS / "broker.pem").read_bytes())
    made = ec.generate_private_key(ec.SECP256R1())
    settings = Settings(api_port=0, api_certfile=certificate, api_keyfile=key)
    async with serving([route(said)], settings) as api, asyncio.timeout(WITHIN_S):

        async def served():
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            _, writer = await asyncio.open_connection("127.0.0.1", api.port, ssl=context)
            found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return found

        first = await served()
        key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        assert await served() == first, "the new key does not belong to the certificate"
        certificate.write_bytes(self_signed(made))
        second = await served()
        assert second != first
        certificate.unlink()
        assert await served() == second


def self_signed(key):
    """A certificate for a private key, PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "annals")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
