"""The API's kernel: what every route has, and what a stranger may send."""

import asyncio
import gzip
import io
import json
import threading

import pytest
from msgspec import Struct
from msgspec.structs import fields
from multidict import CIMultiDict
from openapi_spec_validator import OpenAPIV31SpecValidator

from annals.agents.reading.ports import (
    BrokenChainError,
    NotReadyError,
    UnreadableEventError,
)
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.openapi import OpenApi
from annals.workers.api.http.routing import Answer, NoParameters, Route, Router, Scope
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.service import described_of_all
from annals.workers.settings import Settings
from annals.workers.web.connections import Connections, Limits
from api_serving import Audit, serving

WITHIN_S = 30


class Said(Struct):
    text: str


class Named(Struct):
    name: str


def route(handler, method="GET", path="/v1/x", parameters=NoParameters, scope=Scope.READ, **options):
    return Route(method, path, scope, "x", parameters, Said, handler, **options)


def failing(error):
    async def handler(call):
        raise error

    return handler


async def echo(call):
    return json_answer(Said(call.body.decode(errors="replace")))


POST = route(echo, "POST", body=Said)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError("a secret"), 500, "internal_error"),
        (TimeoutError("a secret"), 500, "internal_error"),
        (BrokenChainError("person 'p-1' version 3"), 500, "broken_chain"),
        (UnreadableEventError("person 'p-1' version 3"), 500, "unreadable_event"),
        (NotReadyError("opening"), 503, "not_ready"),
    ],
)
async def test_what_fails_is_a_problem_and_shows_nothing(error, status, code):
    async with serving([route(failing(error))]) as api:
        found, headers, problem = await api("GET", "/v1/x", headers={"x-request-id": "mine-1"})
        assert (found, headers["content-type"], headers["x-request-id"]) == (
            status,
            "application/problem+json",
            "mine-1",
        )
        assert problem["type"] == f"urn:annals:problem:{code}"
        assert problem["instance"] == "urn:annals:request:mine-1"
        assert "secret" not in json.dumps(problem)
        assert "Traceback" not in json.dumps(problem)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "\tx;"])
async def test_a_request_id_that_is_none_is_replaced(given):
    async with serving([POST]) as api:
        _, headers, _ = await api("GET", "/v1/nothing", headers={"x-request-id": given})
        assert len(headers["x-request-id"]) == 36


async def test_methods_and_paths():
    async with serving([POST, route(echo, path="/v1/y")]) as api:
        status, headers, problem = await api("GET", "/v1/x")
        assert (status, headers["allow"], problem["type"]) == (405, "POST", "urn:annals:problem:method_not_allowed")
        assert (await api("DELETE", "/v1/y"))[1]["allow"] == "GET, HEAD"
        assert (await api("GET", "/v1/z"))[0] == (await api("GET", "/"))[0] == (await api("GET", "/v1"))[0] == 404


def test_two_routes_of_one_path_are_a_defect():
    with pytest.raises(ValueError, match="two routes for POST"):
        Router([POST, POST])


async def test_bodies_are_json_and_bounded():
    json_type = {"content-type": "application/json; charset=utf-8"}
    async with serving([POST, route(echo, path="/v1/y")]) as api:
        assert (await api("POST", "/v1/x", data=b"{}", headers=json_type))[2] == {"text": "{}"}
        for wrong in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
            status, _, problem = await api("POST", "/v1/x", data=b"{}", headers={"content-type": wrong})
            assert (status, problem["type"]) == (415, "urn:annals:problem:unsupported_media_type")
        packed = gzip.compress(b"{}")
        for codings in (["gzip"], ["identity", "gzip"], ["identity, gzip"], ["GZIP"], ["br"]):
            headers = CIMultiDict([*json_type.items(), *(("content-encoding", coding) for coding in codings)])
            assert (await api("POST", "/v1/x", data=packed, headers=headers))[0] == 415, codings
        status, _, problem = await api("POST", "/v1/x", data=io.BytesIO(b"x" * (1 << 20 | 1)), headers=json_type)
        assert (status, problem["type"]) == (413, "urn:annals:problem:too_large")

        async def parts():
            for _ in range(20):
                yield b"x" * (1 << 16)

        assert (await api("POST", "/v1/x", data=parts(), headers=json_type))[0] == 413
        assert (await api("GET", "/v1/y", data=b"{}", headers=json_type))[0] == 400


async def test_large_answers_are_compressed_for_who_takes_that():
    async def large(call):
        return json_answer(Said("x" * 5000))

    async with serving([route(large)]) as api:
        _, headers, body = await api("GET", "/v1/x", headers={"accept-encoding": "br, gzip;q=0.5"})
        assert (headers["content-encoding"], headers["vary"], body) == ("gzip", "accept-encoding", {"text": "x" * 5000})
        _, headers, _ = await api("GET", "/v1/x", headers={"accept-encoding": "*;q=0, gzip"})
        assert headers["content-encoding"] == "gzip"
        for refused in ("identity", "gzip;q=0", "br", "*, gzip;q=0", "gzip; Q=0.000"):
            _, headers, _ = await api("GET", "/v1/x", headers={"accept-encoding": refused})
            assert "content-encoding" not in headers


async def test_a_stream_that_breaks_off_does_not_look_whole():
    async def broken(call):
        async def parts():
            yield b"x"
            raise BrokenChainError("version 3")

        return Answer(parts(), content_type="text/plain")

    async with serving([route(broken)]) as api:
        with pytest.raises(Exception, match=r"ot enough data|closed|disconnected|payload|reset"):
            await api("GET", "/v1/x")


@pytest.mark.parametrize("limits", [{"limits": Limits(silent_s=0.2)}, {"most": 2}], ids=["silence", "number"])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_who_is_being_answered_is_not_taken_for_silent(limits, is_stream):
    begun, closed, calls = asyncio.Event(), asyncio.Event(), []

    async def slow(call):
        calls.append(call)

        async def parts():
            yield b"one, "
            begun.set()
            await closed.wait()
            yield b"two"

        return Answer(parts() if is_stream else b"".join([part async for part in parts()]), content_type="text/plain")

    async with serving([route(slow)], connections=Connections(**limits)) as api, asyncio.timeout(WITHIN_S):
        asking = asyncio.create_task(api("GET", "/v1/x"))
        await begun.wait()
        readers, writers = zip(*[await asyncio.open_connection("127.0.0.1", api.port) for _ in range(2)], strict=True)
        await readers[0].read()  # silent later than the one that is answered, and closed before it
        closed.set()
        assert (await asking)[2] == b"one, two"
        assert len(calls) == 1  # the client would ask again where a connection was closed
        for writer in writers:
            writer.close()


async def test_too_many_requests_are_told_when_to_come_back():
    async with serving([POST], Settings(api_port=0, api_requests_per_second=3)) as api:
        answers = [await api("GET", "/v1/nothing") for _ in range(10)]
        refused = [(headers, problem) for status, headers, problem in answers if status == 429]
        assert refused
        assert all(int(headers["retry-after"]) >= 1 for headers, _ in refused)
        assert refused[0][1]["type"] == "urn:annals:problem:too_many_requests"


async def test_a_request_that_takes_too_long_is_ended():
    """Goes red when who asks for a change is not told that it may have been made."""

    async def slow(call):
        await asyncio.Event().wait()

    async with serving([route(slow), route(slow, "POST")], Settings(api_port=0, api_timeout_s=1)) as api:
        (status, _, asked), (changing, _, changed) = await asyncio.gather(api("GET", "/v1/x"), api("POST", "/v1/x"))
        assert (status, asked["type"]) == (changing, changed["type"]) == (504, "urn:annals:problem:timeout")
        assert [("may have been done" in problem["detail"]) for problem in (asked, changed)] == [False, True]


async def test_an_administrative_call_is_recorded_before_it_is_done_and_before_it_is_answered():
    audit, seen = Audit(), []

    async def done(call):
        seen.append([entry.status for entry in audit.entries])
        return json_answer(Said("done"))

    routes = [
        route(done, "POST", scope=Scope.ADMIN),
        route(failing(ZeroDivisionError()), "POST", "/v1/y", scope=Scope.ADMIN),
    ]
    async with serving(routes, audit=audit) as api:
        await api("POST", "/v1/x?", headers={"x-request-id": "r-1"})
        await api("POST", "/v1/y")
    assert seen == [[None]]
    assert [(entry.status, entry.code) for entry in audit.entries] == [
        (None, None),
        (200, None),
        (None, None),
        (500, "internal_error"),
    ]
    assert (audit.entries[0].request_id, audit.entries[0].principal) == ("r-1", "anonymous")


async def test_an_administrative_call_that_cannot_be_recorded_is_not_done():
    async def done(call):
        raise AssertionError

    async with serving([route(done, "POST", scope=Scope.ADMIN)]) as api:
        status, headers, _ = await api("POST", "/v1/x")
        assert (status, headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem(sent):
    async with serving([POST]) as api:
        head, body = await answer_to(api, sent)
    assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), (head, body)
    assert json.loads(body)["type"] == "urn:annals:problem:invalid_request"


async def answer_to(api, sent):
    """What is answered to bytes until the server closes: the head of the first answer, and the rest."""
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def sent_raw(api, sent):
    """The answer to bytes: its status, its headers, and its body."""
    head, body = await answer_to(api, sent)
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


@pytest.mark.parametrize(
    "method",
    ["FOO", "get", "GETX", "G", "PATCH", "PURGE", "TRACE", "PROPFIND", "!#$%&'*+.^_`|~0-9", "M" * 100, "OPTIONS"],
)
async def test_a_method_that_a_path_does_not_have_is_405_whatever_its_name(method):
    rest = b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    async with serving([POST, route(echo, path="/v1/y/{name}", parameters=Named)]) as api:
        for path, status, allowed in (
            ("/v1/x", 405, "post"),
            ("/v1/x?a=b", 405, "post"),
            ("http://localhost/v1/y/%2Fz", 405, "get, head"),
            ("/v1/nothing", 404, None),
            ("/v1/x%ff", 400, None),
        ):
            found, headers, body = await sent_raw(api, f"{method} {path}".encode() + rest)
            assert (found, headers.get("allow"), json.loads(body)["status"]) == (status, allowed, status), path
            assert headers["content-type"] == "application/problem+json"


async def test_a_line_that_is_none_of_a_request_is_no_wrong_method():
    async with serving([POST]) as api:
        for line in (b"FOO", b"FOO /v1/x", b"FOO /v1/x HTTP/9.9", b"F@O /v1/x HTTP/1.1", b"FOO  HTTP/1.1"):
            assert (await sent_raw(api, line + b"\r\nhost: localhost\r\n\r\n"))[0] == 400, line


@pytest.mark.parametrize(
    ("sent", "host", "status"),
    [
        ("http://localhost:1/v1/openapi.json?", "example.org", b"200"),
        ("HTTP://LOCALHOST/v1/openapi.json", "localhost", b"200"),
        ("http://example.org/v1/openapi.json", "localhost", b"403"),
        ("http://localhost/v1/nothing", "localhost", b"404"),
        ("http://localhost?x", "localhost", b"404"),
        ("http://localhost", "localhost", b"404"),
    ],
)
async def test_a_whole_url_is_a_request_for_its_path_and_its_host_goes_before_the_header(sent, host, status):
    async with serving([]) as api, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(f"GET {sent} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.split(b" ", 2)[1] == status, answer[:300]


async def test_who_waits_to_be_told_to_send_its_body_is_told():
    async with serving([POST]) as api, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(
            b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.read()).endswith(b'{"text":"{}"}')
        writer.close()


async def test_the_description_is_made_once_and_by_a_thread(monkeypatch):
    made = []

    def document(self):
        made.append(threading.current_thread())
        return {}

    monkeypatch.setattr(OpenApi, "document", document)
    async with serving([POST]) as api:
        found = await asyncio.gather(*(api("GET", "/v1/openapi.json") for _ in range(5)))
    assert [(status, body) for status, _, body in found] == [(200, {})] * 5
    assert len(made) == 1
    assert made[0] is not threading.main_thread()


def test_each_route_is_described_by_its_own_types():
    """Goes red when two types have one name: a command's 202 was described as that of an acknowledgement."""
    document = OpenApi(described_of_all(), is_open=False).document()
    OpenAPIV31SpecValidator(document).validate()
    schemas = document["components"]["schemas"]
    for route in described_of_all():
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        for status, answer in ((route.status, route.answer), *route.other_answers):
            if isinstance(answer, type) and issubclass(answer, Struct):
                named = responses[str(status)]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                assert set(schemas[named]["properties"]) == {field.encode_name for field in fields(answer)}, route.path


async def test_the_description_is_valid_and_its_page_needs_nothing_from_elsewhere():
    async with serving(AggregateRoutes(None).routes()) as api:
        status, headers, document = await api("GET", "/v1/openapi.json")
        assert (status, document["openapi"]) == (200, "3.1.0")
        OpenAPIV31SpecValidator(document).validate()
        assert "/v1/aggregates/{kind}/{id}" in document["paths"]
        assert (await api("GET", "/v1/openapi.json", headers={"if-none-match": headers["etag"]}))[0] == 304
        status, headers, page = await api("GET", "/docs")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"//" not in page
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "page.js", "favicon-32x32.png"):
            assert name.encode() in page
            assert (await api("GET", f"/docs/{name}"))[0] == 200
        assert (await api("GET", "/docs/..%2f__init__.py"))[0] == 404
