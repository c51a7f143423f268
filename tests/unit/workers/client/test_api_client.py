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


class Streams:
    """Answers requests in turn: with a piece of a stream that breaks off, or with a status."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, request):
        self.asked.append((request.path_qs, request.headers.get("last-event-id")))
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            problem = {"type": "urn:annals:problem:said", "detail": "said"}
            return web.json_response(problem, status=answer, headers=HEADERS)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        for piece in answer:
            await response.write(piece)
        request.transport.abort()
        return response


def message(number, text=""):
    return b'id: c%d\nevent: event\ndata: {"n":%d,"text":"%b"}\n\n' % (number, number, text.encode())


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(api_client, "AGAIN_S", 0.0)


async def followed(streams, count, cursor=None):
    async with RawTestServer(streams) as server, ApiClient(f"http://127.0.0.1:{server.port}") as client:
        found = []
        async with asyncio.timeout(WITHIN_S), aclosing(client.follow("/v1/events?kind=person", cursor)) as stream:
            async for event, behind in stream:
                found.append((event and event["n"], behind))
                if len(found) == count:
                    break
        return found


@pytest.mark.usefixtures("at_once")
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


@pytest.mark.usefixtures("at_once")
async def test_a_stream_that_is_refused_is_not_asked_for_again():
    streams = Streams([message(1)], 400)
    with pytest.raises(ApiError) as refused:
        await followed(streams, 2, "c0")
    assert (refused.value.status, streams.asked[0][1], streams.answers) == (400, "c0", [])
    with pytest.raises(ApiError):  # nothing has come: it may never
        await followed(Streams(503), 1)


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
