"""The sender against servers that behave badly, and name servers that change their mind."""

import asyncio
import errno
import resource
import socket
from ipaddress import ip_network

import aiohttp
import pytest

from annals.workers.webhooks.secrets import KEPT_S, SecretFolder, SecretUnusableError
from annals.workers.webhooks.sender import (
    ADDRESS_REFUSED,
    BROKEN_OFF,
    NOT_CONNECTED,
    TIMEOUT,
    TLS_FAILED,
    TOO_LARGE,
    NoAnswerError,
    Reply,
    WebhookSender,
)
from endpoints import Endpoint, raw_server

LOOPBACK = [ip_network("127.0.0.0/8")]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
async def sender():
    sender = WebhookSender(LOOPBACK)
    yield sender
    await sender.close()


@pytest.fixture
async def endpoint():
    async with Endpoint().serving() as endpoint:
        yield endpoint


async def reason(sender, url, within_s=10.0, body=b"{}"):
    with pytest.raises(NoAnswerError) as caught:
        await sender.post(url, {}, body, within_s)
    return caught.value.reason


async def test_what_is_posted_arrives_as_it_is_and_is_answered(sender, endpoint):
    url = endpoint.url + "/a%2Fb?c=%20d"
    assert await sender.post(url, {"ce-id": "1"}, b"\x00{}", 10) == Reply(204, None)
    (posted,) = endpoint.posted
    assert (posted.path, posted.body, posted.headers["ce-id"]) == ("/in/a%2Fb?c=%20d", b"\x00{}", "1")
    assert posted.headers["user-agent"] == "annals"


async def test_connections_are_used_again(sender):
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        while True:
            await reader.readexactly(2)
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")

    async with raw_server(serve) as url:
        for _ in range(3):
            assert await sender.post(url, {}, b"{}", 10) == Reply(200, None)
    assert connections == 1


async def test_redirects_are_not_followed(sender, endpoint):
    async def serve(_, writer):
        writer.write(b"HTTP/1.1 307 Go\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % endpoint.url.encode())

    async with raw_server(serve) as url:
        assert await sender.post(url, {}, b"{}", 10) == Reply(307, None)
    assert not endpoint.posted


async def test_proxies_of_the_environment_are_not_used(endpoint, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    sender = WebhookSender(LOOPBACK)
    assert (await sender.post(endpoint.url, {}, b"{}", 10)).status == 204
    await sender.close()


async def stall(_, __):
    await asyncio.Event().wait()


async def drip(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_headers(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for at in range(1_000_000):
        writer.write(b"x-%d: y\r\n" % at)
        await writer.drain()
        await asyncio.sleep(0.05)


async def reset(_, writer):
    writer.transport.abort()


async def break_off(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n.")


async def talk_nonsense(_, writer):
    writer.write(b"220 mail.example ESMTP\r\n")


async def send_much(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + b"." * 0x4000 + b"\r\n")
        await writer.drain()


async def send_long_header(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 0x4000)
    await asyncio.Event().wait()


def for_ever(piece):
    """A server that never stops: each piece is small and well-formed, and there is no end of them."""

    async def serve(_, writer):
        while True:
            writer.write(piece * 1_000)
            await writer.drain()

    return serve


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (stall, TIMEOUT),
        (drip, TIMEOUT),
        (drip_headers, TIMEOUT),
        (reset, BROKEN_OFF),
        (break_off, BROKEN_OFF),
        (talk_nonsense, BROKEN_OFF),
        (send_much, TOO_LARGE),
        (send_long_header, BROKEN_OFF),
        (for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"), TOO_LARGE),
        (for_ever(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), TOO_LARGE),
        (for_ever(b"\r\n"), TOO_LARGE),
    ],
)
async def test_bad_answers_are_no_answers(sender, endpoint, serve, why):
    async with raw_server(serve) as url:
        assert await reason(sender, url, 0.5 if why == TIMEOUT else 10) == why
    assert (await sender.post(endpoint.url, {}, b"{}", 10)).status == 204, "others are served as before"


@pytest.fixture
def head_taken(monkeypatch):
    """Set when the head of an answer was taken."""
    taken, start = asyncio.Event(), aiohttp.ClientResponse.start

    async def started(response, connection):
        found = await start(response, connection)
        taken.set()
        return found

    monkeypatch.setattr(aiohttp.ClientResponse, "start", started)
    return taken


@pytest.mark.parametrize("is_behind", [False, True], ids=["with its head", "behind its head"])
@pytest.mark.parametrize(
    ("head", "piece"),
    [(CHUNKED + b"1;", b"x"), (CHUNKED, b"0"), (CHUNKED, b"1\r\nx\r\n"), (UNTIL_CLOSED, b"x")],
    ids=["an extension", "a length", "pieces", "until it is closed"],
)
async def test_a_body_without_end_is_too_large_wherever_it_is_cut(sender, head_taken, head, piece, is_behind):
    async def serve(reader, writer):
        writer.write(head)
        if is_behind:
            await head_taken.wait()
        await for_ever(piece)(reader, writer)

    async with raw_server(serve) as url:
        assert await reason(sender, url) == TOO_LARGE


LARGE = bytes(16 << 20)  # more than the sockets of both ends take
takes_large = pytest.mark.filterwarnings("ignore:Sending a large body")


@takes_large
@pytest.mark.parametrize("head", [b"", CHUNKED], ids=["without a head", "behind its head"])
async def test_an_endpoint_that_does_not_read_has_an_answer_without_end_refused_at_once(sender, head):
    async def serve(reader, writer):
        writer.transport.pause_reading()
        writer.write(head)
        await for_ever(b"1\r\nx\r\n" if head else b"\r\n")(reader, writer)

    async with raw_server(serve) as url:
        assert await reason(sender, url, 5, LARGE) == TOO_LARGE


@takes_large
async def test_what_an_endpoint_has_not_taken_in_time_is_not_sent_to_it_later(sender):
    is_over, taken = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        writer.transport.pause_reading()
        await is_over.wait()
        writer.transport.resume_reading()
        size = 0
        try:
            while data := await reader.read(1 << 20):
                size += len(data)
        except ConnectionError:
            pass
        taken.set_result(size)

    async with raw_server(serve) as url:
        assert await reason(sender, url, 0.5, LARGE) == TIMEOUT
        is_over.set()
        assert await taken < len(LARGE)


async def test_a_machine_without_a_file_for_a_connection_is_no_endpoint_that_is_not_connected_to(sender, endpoint):
    """Goes red when it passes for an answer of the endpoint, which counts."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))  # what is open stays so
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            await sender.post(endpoint.url, {}, b"{}", 10.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.errno == errno.EMFILE
    assert (await sender.post(endpoint.url, {}, b"{}", 10.0)).status == 204


async def test_nobody_listens(sender):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await reason(sender, f"http://127.0.0.1:{taken.getsockname()[1]}/") == NOT_CONNECTED


async def test_a_server_without_tls_gets_nothing_over_https(sender, endpoint):
    url = endpoint.url.replace("http:", "https:")
    assert await reason(sender, url) in {TLS_FAILED, NOT_CONNECTED, BROKEN_OFF}
    assert not endpoint.posted


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0", "[64:ff9b::7f00:1]"]
)
async def test_addresses_are_refused_before_anything_is_sent(host):
    sender = WebhookSender([])
    for scheme in ("http", "https"):
        assert await reason(sender, f"{scheme}://{host}/") == ADDRESS_REFUSED
    await sender.close()


async def test_http_is_for_the_permitted_ranges_alone():
    sender = WebhookSender(LOOPBACK, lambda *_: [("8.8.8.8", 80)])
    assert await reason(sender, "http://8.8.8.8/") == ADDRESS_REFUSED
    assert await reason(sender, "http://public.example/") == ADDRESS_REFUSED
    await sender.close()


async def test_the_address_that_was_checked_is_connected_to_and_no_other(endpoint):
    """A name server that answers with another address each time: each answer is used, or refused, as it is."""
    port = int(endpoint.url.rpartition(":")[2].partition("/")[0])
    answers = [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "10.0.0.1"], [], ["127.0.0.1"]]
    asked = []

    def lookup(host, _, __):
        asked.append(host)
        return [(address, port) for address in answers[len(asked) - 1]]

    sender = WebhookSender(LOOPBACK, lookup)
    url = f"http://hook.example:{port}/"
    assert (await sender.post(url, {"connection": "close"}, b"{}", 10)).status == 204
    assert len(asked) == 1, "one look-up for one connection"
    assert await reason(sender, url) == ADDRESS_REFUSED
    assert await reason(sender, url) == ADDRESS_REFUSED, "one bad address is enough"
    assert await reason(sender, url) == NOT_CONNECTED
    assert (await sender.post(url, {}, b"{}", 10)).status == 204
    assert [posted.headers["host"] for posted in endpoint.posted] == [f"hook.example:{port}"] * 2
    await sender.close()


async def test_a_name_server_that_stalls_is_not_waited_for(endpoint):
    ends = asyncio.Event()
    loop = asyncio.get_running_loop()

    def lookup(*_):
        asyncio.run_coroutine_threadsafe(ends.wait(), loop).result(30)
        return []

    sender = WebhookSender(LOOPBACK, lookup, connect_s=0.2)
    assert await reason(sender, "http://slow.example/", 20) == TIMEOUT
    assert (await sender.post(endpoint.url, {}, b"{}", 10)).status == 204
    ends.set()
    await sender.close()


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_secrets_are_read_by_name_and_again_after_a_change(tmp_path):
    (tmp_path / "old").write_text(SECRET + "\n")
    now = [0.0]
    folder = SecretFolder(tmp_path, lambda: now[0])
    assert folder.has("old")
    (first,) = folder.keys(["old"])
    (tmp_path / "old").write_text("B" * 32)
    assert folder.keys(["old"]) == [first]
    now[0] += KEPT_S
    assert folder.keys(["old"]) != [first]
    (tmp_path / "old").unlink()
    now[0] += KEPT_S
    with pytest.raises(SecretUnusableError):
        folder.keys(["old"])


def test_a_secret_that_is_not_there_and_one_that_cannot_be_used_are_the_same(tmp_path):
    (tmp_path / "short").write_text("c2hvcnQ=")
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff" * 40)
    (tmp_path / "large").write_text("A" * 5_000)
    (tmp_path / "open").write_text(SECRET)
    (tmp_path / "open").chmod(0o666)
    (tmp_path.parent / "outside").write_text(SECRET)
    folder = SecretFolder(tmp_path)
    messages = set()
    for name in ("short", "folder", "binary", "large", "open", "unknown", "../outside", "", "UPPER"):
        assert not folder.has(name)
        with pytest.raises(SecretUnusableError) as caught:
            folder.keys([name])
        messages.add(str(caught.value).replace(repr(name), "…"))
    assert len(messages) == 1
    assert not SecretFolder(None).has("short")
