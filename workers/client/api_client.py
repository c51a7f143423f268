"""Asks the API of a worker: one answer, the pages of a list, or a stream of events."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from types import TracebackType

PROBLEM_TYPE: Final = "urn:annals:problem:"
REQUEST_ID: Final = "x-request-id"  # every answer of the API has it
PATIENCE_S: Final = 90.0  # the API's longest wait, and what answering takes
SILENT_S: Final = 30.0  # a stream says where it is every 5 s
AGAIN_S: Final = 1.0  # before a stream that broke off is asked for again
NOT_NOW: Final = frozenset({0, 429, 503, 504})  # statuses after which a stream is asked for again; 0: no answer


class ApiError(Exception):
    """The API did not answer, or with a problem; the message says which. status: of the answer, 0 for none."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Take the message, and the status of the answer."""
        super().__init__(message)
        self.status = status


class ApiClient:
    """A connection to the API of one worker; it answers for all."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Take where it is, and the bearer token."""
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what the API answers; body: what the request has, as JSON types.

        Raises:
            ApiError: it does not answer, or with a problem.
        """
        try:
            async with self._requested(method, path, json=body) as answer:
                answered = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._is_none(str(error) or type(error).__name__) from error
        except RecursionError:
            raise ApiError("the answer nests deeper than can be read here") from None
        self._require_answer(answer, answered)
        return answered

    async def pages(self, path: str) -> AsyncGenerator[Any, None]:
        """Yield the pages of a list. path: of the first, with its query.

        Raises:
            ApiError: it does not answer, or with a problem.
        """
        following: str | None = path
        while following is not None:
            page = await self.ask("GET", following)
            yield page
            following = page["next"]

    async def follow(
        self, path: str, cursor: str | None = None
    ) -> AsyncGenerator[tuple[dict[str, Any] | None, str], None]:
        """Yield the events of `GET /v1/events?…` as they come, without end, each with the cursor behind it.

        path: with its query, without `follow`. cursor: behind which the stream begins. Without an event the stream is
        alive and at this cursor. Once it has begun, it is asked for again where it breaks off, and goes on behind the
        last cursor, with neither a gap nor a repetition.

        Raises:
            ApiError: the API refuses (a parameter, the cursor or the token is wrong), or does not answer at first.
        """
        streamed = f"{path}{'&' if '?' in path else '?'}follow=1"
        has_begun = False
        while True:
            try:
                async with aclosing(self._stream(streamed, cursor)) as stream:
                    async for event, behind in stream:
                        cursor, has_begun = behind, True
                        yield event, behind
            except ApiError as error:
                if not has_begun or error.status not in NOT_NOW:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def _stream(self, path: str, cursor: str | None) -> AsyncGenerator[tuple[dict[str, Any] | None, str], None]:
        """Yield what one connection brings, until it ends or breaks off.

        Raises:
            ApiError: there is no stream; or it broke off.
        """
        headers = {} if cursor is None else {"last-event-id": cursor}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENT_S)
        left = bytearray()  # an event is one line of data, of any length
        try:
            async with self._requested("GET", path, headers=headers, timeout=timeout) as answer:
                self._require_answer(answer, await answer.json(content_type=None) if answer.status >= 300 else None)
                async for piece in answer.content.iter_any():
                    left += piece
                    *messages, left = left.split(b"\n\n")
                    for message in messages:
                        fields = dict(line.split(b": ", 1) for line in bytes(message).split(b"\n"))
                        if b"id" in fields:
                            event = json.loads(fields[b"data"]) if b"data" in fields else None
                            yield event, fields[b"id"].decode()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._is_none(str(error) or type(error).__name__) from error

    def _requested(self, method: str, path: str, **how: Any) -> Any:
        assert self._session is not None  # noqa: S101 - begun
        # As it stands: an id of dots, which a URL may not be cleaned of, is a segment like any other.
        return self._session.request(method, URL(self._url + path, encoded=True), allow_redirects=False, **how)

    def _require_answer(self, answer: aiohttp.ClientResponse, answered: Any) -> None:
        """Raise an ApiError where this is a problem, or where another service answers.

        Another service on this address, or a redirection, must not be taken for an answer: its 404 says nothing.
        """
        if answer.status >= 300:
            if not (isinstance(answered, dict) and str(answered.get("type")).startswith(PROBLEM_TYPE)):
                raise self._is_none(f"what is there answers with status {answer.status}")
            raise ApiError(f"{answer.status}: {answered.get('detail') or 'the API refuses'}", answer.status)
        if REQUEST_ID not in answer.headers:
            raise self._is_none("what is there answers as another service")

    def _is_none(self, reason: str) -> ApiError:
        return ApiError(f"no API answers at {self._url} ({reason}): set ANNALS_API_URL or --api")
