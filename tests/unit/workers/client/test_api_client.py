"""The client of the API: pages, and a stream that breaks off."""

import asyncio
from contextlib import aclosing

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from annals.client import ApiClient, ApiError
from annals.workers.client import api_client

HEADERS = {"x-request-id": "r"}
WITHIN_S = 30
LARGE = "x" * 500_000  # longer than a line that aiohttp reads at once
RETRY_AFTER_S = 7


class Streams:
    """Answers requests in turn: with a piece of a stream that breaks off, or with a status."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked, self.tokens = [], []
        self.ends_well = False

    async def __call__(self, request):
        self.asked.append((request.path_qs, request.headers.get("last-event-id")))
        self.tokens.append(request.headers.get("authorization"))
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            problem = {"type": "urn:annals:problem:said", "detail": "said"}
            wait = {"retry-after": str(RETRY_AFTER_S)} if answer in {429, 503} else {}
            return web.json_response(problem, status=answer, headers=HEADERS | wait)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        for piece in answer:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                await response.write(piece)
        if not self.ends_well:
            request.transport.abort()
        return response


def message(number, text=""):
    return b'id: c%d\nevent: event\ndata: {"n":%d,"text":"%b"}\n\n' % (number, number, text.encode())


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that a client makes, in seconds; they take no time here."""
    made = []

    async def sleep(seconds):
        made.append(seconds)

    monkeypatch.setattr(api_client, "sleep", sleep)
    return made


async def followed(streams, count, cursor=None, token=None, on_failure=None):
    async with RawTestServer(streams) as server, ApiClient(f"http://127.0.0.1:{server.port}", token) as client:
        found = []
        following = client.follow("/v1/events?kind=person", cursor, on_failure)
        async with asyncio.timeout(WITHIN_S), aclosing(following) as stream:
            async for event, behind in stream:
                found.append((event and event["n"], behind))
                if len(found) == count:
                    break
        return found


@pytest.mark.usefixtures("pauses")
async def test_a_stream_that_breaks_off_goes_on_behind_its_last_cursor():
    """Goes red when half a message counts, when the cursor is not sent, or when a moved cursor is forgotten."""
    whole = message(2, LARGE)
    streams = Streams(
        [b"retry: 1000\n\n", message(1), whole[:100_000], whole[100_000:], message(3)[:-5]],
        503,
        [message(3), b"id: c9\n\n"],
        [message(10)],
    )
    assert await followed(streams, 5) == [(1, "c1"), (2, "c2"), (3, "c3"), (None, "c9"), (10, "c10")]
    path = "/v1/events?kind=person&follow=1"
    assert streams.asked == [(path, None), (path, "c2"), (path, "c2"), (path, "c9")]


@pytest.mark.usefixtures("pauses")
async def test_a_stream_that_is_refused_is_not_asked_for_again():
    streams = Streams([message(1)], 400)
    with pytest.raises(ApiError) as refused:
        await followed(streams, 2, "c0")
    assert (refused.value.status, streams.asked[0][1], streams.answers) == (400, "c0", [])
    with pytest.raises(ApiError):  # nothing has come: it may never
        await followed(Streams(503), 1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_stream_that_had_begun_outlasts_what_passes(pauses, status):
    """Goes red when one refusal by a worker or proxy that restarts ends a stream for good, or its wait is ignored."""
    told = []
    streams = Streams([message(1)], *[status] * 5, [message(2)], status, [message(3)])
    assert await followed(streams, 3, on_failure=told.append) == [(1, "c1"), (2, "c2"), (3, "c3")]
    refused = [7, 7, 8, 10, 10] if status in {429, 503} else [2, 4, 8, 10, 10]
    assert pauses == [1, *refused, 1, refused[0]]
    assert [error.status for error in told] == [0, 0]  # it broke off; what follows is the same interruption


async def test_the_first_failure_of_an_interruption_is_told(pauses):
    told = []
    streams = Streams([message(1)], 500, 503, [message(2)], 502, [message(3)])
    streams.ends_well = True
    await followed(streams, 3, on_failure=told.append)
    assert ([error.status for error in told], len(pauses)) == ([500, 502], 5)


async def test_each_request_has_the_token_that_is_valid_then(pauses):
    """Goes red when a stream that breaks off after tokens were turned is refused for ever."""
    tokens = iter(["one", "two\n"])
    streams = Streams([message(1)], [message(2)])
    assert await followed(streams, 2, token=lambda: next(tokens)) == [(1, "c1"), (2, "c2")]
    assert streams.tokens == ["Bearer one", "Bearer two"]
    assert pauses == [1]


async def test_what_proxies_add_to_a_stream_is_passed_over(pauses):
    """Goes red with line ends of a proxy, also between two pieces, and with comments that keep a connection alive."""
    told = []
    alone = message(2).replace(b"\n", b"\r\n")
    pieces = [b": connected\n\n", b":\n" + message(1), alone[:-3], alone[-3:-1], alone[-1:], b"id:c9\n\n"]
    streams = Streams(pieces)
    assert await followed(streams, 3, on_failure=told.append) == [(1, "c1"), (2, "c2"), (None, "c9")]
    assert (told, pauses) == ([], [])


async def test_an_event_of_a_stream_that_nests_too_deep_is_an_error_after_those_before_it(pauses):
    """Goes red with a traceback, or when the same event is asked for without end."""
    deep = b'id: c2\ndata: {"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n"
    async with (
        RawTestServer(Streams([message(1) + deep])) as server,
        ApiClient(f"http://127.0.0.1:{server.port}") as client,
        aclosing(client.follow("/v1/x")) as stream,
    ):
        assert (await anext(stream))[1] == "c1"
        with pytest.raises(ApiError, match="nests deeper"):
            await anext(stream)
    assert pauses == []


async def test_what_is_at_hand_is_told_so():
    """Goes red when a reader that writes where nothing is at hand writes too early, or an event waits for the next."""
    first_ones_are_taken = asyncio.Event()
    first_ones = message(1) + message(2) + b"retry: 1\n\n" + message(3)[:-1]
    async with (
        asyncio.timeout(WITHIN_S),
        RawTestServer(Streams([first_ones, first_ones_are_taken, b"\n"])) as server,
        ApiClient(f"http://127.0.0.1:{server.port}") as client,
        aclosing(client.followed("/v1/x")) as stream,
    ):
        assert [(await anext(stream))[1:] for _ in range(2)] == [("c1", True), ("c2", False)]
        first_ones_are_taken.set()
        assert (await anext(stream))[1:] == ("c3", False)


class Lists:
    """Answers requests for pages in turn: with a page that has a next one but for the last, or with a status."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def __call__(self, _):
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            problem = {"type": "urn:annals:problem:said", "detail": "said"}
            return web.json_response(problem, status=answer, headers=HEADERS | {"retry-after": str(RETRY_AFTER_S)})
        return web.json_response({"next": "/v1/x" if self.answers else None, **answer}, headers=HEADERS)


async def paged(lists):
    async with RawTestServer(lists) as server, ApiClient(f"http://127.0.0.1:{server.port}") as client:
        return len([page async for page in client.pages("/v1/x")])


BEHIND = [{"kind": "person", "partition": 0, "reason": "indexing: at offset 1 of 9"}]
EMPTY = {"events": [], "missing": [], "stale": []}


@pytest.mark.parametrize("member", ["missing", "stale"])
async def test_what_is_behind_is_asked_for_after_pauses_that_grow(pauses, member):
    """Goes red when a shard that is being indexed is asked thousands of times a second."""
    behind = EMPTY | {member: BEHIND}
    one = EMPTY | {"events": [{"n": 1}]}
    assert await paged(Lists(*[behind] * 5, one | {member: BEHIND}, behind, one, behind)) == 9
    assert pauses == [1, 2, 4, 8, 10, 1]


async def test_pages_that_are_not_behind_are_asked_for_at_once(pauses):
    """Goes red when rows, of which ten thousand were looked at for none, cost a second each page."""
    assert await paged(Lists(EMPTY, EMPTY, EMPTY)) == 3
    assert pauses == []


async def test_a_page_that_is_refused_as_too_often_is_asked_for_again(pauses):
    """Goes red when a long list ends in the middle by the caller's own speed."""
    assert await paged(Lists(EMPTY, 429, 429, EMPTY)) == 2
    assert pauses == [RETRY_AFTER_S, RETRY_AFTER_S]
    for answers in ((429,), (EMPTY, 503)):
        with pytest.raises(ApiError):
            await paged(Lists(*answers))


async def test_pages_are_followed_to_the_last():
    async def answer(request):
        following = {"/v1/x": "/v1/x?cursor=a%2Fb", "/v1/x?cursor=a%2Fb": None}[request.raw_path]
        return web.json_response({"next": following}, headers=HEADERS)

    async with RawTestServer(answer) as server, ApiClient(f"http://127.0.0.1:{server.port}") as client:
        assert [page["next"] async for page in client.pages("/v1/x")] == ["/v1/x?cursor=a%2Fb", None]


async def test_an_answer_that_nests_too_deep_is_an_error_with_a_reason():
    async def answer(request):
        return web.Response(body=b"[" * 100_000 + b"]" * 100_000, content_type="application/json", headers=HEADERS)

    async with RawTestServer(answer) as server, ApiClient(f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises(ApiError, match="nests deeper"):
            await client.ask("GET", "/v1/x")
