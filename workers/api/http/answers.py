"""Answers on their way out: conditional, compressed, in pieces."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiohttp import web

from annals.agents.waiting import Turn
from annals.schemas.dag_json import encode
from annals.workers.api.http.preferences import listed, weights_of
from annals.workers.api.http.problems import PROBLEM_JSON, Problem
from annals.workers.api.http.routing import Answer
from annals.workers.api.http.shapes import found_event_json
from annals.workers.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annals.agents.reading.found import FoundEvent
    from annals.workers.api.http.routing import Call

LEAST_COMPRESSED: Final = 1_400  # what fits into one packet is not made smaller
COMPRESSED_AT_ONCE: Final = 64 << 10  # more is compressed by a thread
LEVEL: Final = 4
SLOWEST_S: Final = 30.0  # for a piece of a stream, of which 64 KiB wait for a caller besides
REQUEST_ID: Final = "x-request-id"
NO_STORE: Final = "no-store"
_logger: Final = structlog.get_logger(__name__)


def json_answer(value: Any, *, status: int = 200, etag: str | None = None, **headers: str) -> Answer:
    """Return a struct or JSON types as an answer."""
    body = msgspec.json.encode(value) if isinstance(value, msgspec.Struct) else encode(value)
    return Answer(body, status, etag=etag, headers={name.replace("_", "-"): text for name, text in headers.items()})


async def events_json(events: Sequence[FoundEvent]) -> list[bytes]:
    """Return events as `annals events` prints them; many or large ones are written by a thread."""
    if sum(len(found.block) for found in events) < COMPRESSED_AT_ONCE:
        return [found_event_json(found) for found in events]
    return await asyncio.to_thread(lambda: [found_event_json(found) for found in events])


async def rows_json(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Return rows for an answer, as JSON already: of very many, or large ones, written a few at a time."""
    turn, written = Turn(SystemClock()), []
    for row in rows:
        written.append(msgspec.Raw(msgspec.json.encode(row)))
        await turn.end_if_long()
    return written


def problem_response(problem: Problem, request_id: str) -> web.Response:
    """Return a problem as a response."""
    response = web.Response(
        body=problem.body(request_id),
        status=problem.status,
        headers={**problem.headers, "content-type": PROBLEM_JSON, REQUEST_ID: request_id, "cache-control": NO_STORE},
    )
    if problem.is_last:
        response.force_close()
    return response


async def respond(request: web.BaseRequest, call: Call, answer: Answer) -> web.StreamResponse:
    """Send an answer, or `304` where the caller has it."""
    headers = {"cache-control": "no-cache", **answer.headers, REQUEST_ID: call.request_id}
    is_compressible = isinstance(answer.body, bytes) and len(answer.body) >= LEAST_COMPRESSED
    if is_compressible:
        headers["vary"] = ", ".join(filter(None, (headers.get("vary"), "accept-encoding")))
    if answer.etag is not None:
        headers["etag"] = f'"{answer.etag}"'
        is_kept = headers["cache-control"] != NO_STORE  # else the ETag says less than the answer
        is_read = request.method in {"GET", "HEAD"} and answer.status == 200 and is_kept
        if is_read and _has(listed(request.headers, "if-none-match"), answer.etag):
            return web.Response(status=304, headers=headers)
    if not isinstance(answer.body, bytes):
        return await _streamed(request, answer, headers)
    body = answer.body
    if is_compressible and _takes_gzip(listed(request.headers, "accept-encoding")):
        body = await _compressed(body)
        headers["content-encoding"] = "gzip"
    if body or answer.status != 204:
        headers["content-type"] = answer.content_type
    return web.Response(body=body, status=answer.status, headers=headers)


async def _streamed(request: web.BaseRequest, answer: Answer, headers: dict[str, str]) -> web.StreamResponse:
    assert not isinstance(answer.body, bytes)  # noqa: S101 - the caller has looked
    response = web.StreamResponse(status=answer.status, headers={**headers, "content-type": answer.content_type})
    if request.method == "HEAD":
        await answer.body.aclose()  # before the answer: whoever has it finds given back what the body held
        await response.prepare(request)
        return response
    async with aclosing(answer.body) as parts:
        await response.prepare(request)
        try:
            async for part in parts:
                async with asyncio.timeout(SLOWEST_S):
                    await response.write(part)
            await response.write_eof()
        except ConnectionError:
            pass  # the caller has gone
        except TimeoutError:
            _logger.info("a caller was too slow for a stream", request_id=headers[REQUEST_ID])
            _abort(request)
        except Exception:
            _logger.exception("a stream broke off", request_id=headers[REQUEST_ID])
            _abort(request)
    return response


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _compressed(body: bytes) -> bytes:
    if len(body) < COMPRESSED_AT_ONCE:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)


def _has(header: str, etag: str) -> bool:
    """Whether `If-None-Match` names an ETag; compared weakly, as RFC 9110 says for it."""
    names = {name.strip().removeprefix("W/").strip('"') for name in header.split(",")}
    return etag in names or "*" in names


def _takes_gzip(header: str) -> bool:
    weights = weights_of(header)
    return weights.get("gzip", weights.get("*", 0.0)) > 0.0
