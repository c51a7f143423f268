"""Asks the API of a worker: one answer, the pages of a list, or a stream of events."""

from __future__ import annotations

import json
from asyncio import sleep
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from types import TracebackType

PROBLEM_TYPE: Final = "urn:annals:problem:"
REQUEST_ID: Final = "x-request-id"  # every answer of the API has it
RETRY_AFTER: Final = "retry-after"
PATIENCE_S: Final = 100.0  # the API's longest wait (60 s), what answering takes (30 s by default), and the way
SILENT_S: Final = 30.0  # a stream says where it is every 5 s
AGAIN_S: Final = 1.0  # before what was not there is asked for again; twice as long each time
LONGEST_PAUSE_S: Final = 10.0
BEHIND: Final = frozenset({"missing", "stale"})  # members of a page that name partitions
OK: Final = 200
TOO_OFTEN: Final = 429
NOT_NOW: Final = frozenset({0, 408, TOO_OFTEN, 500, 502, 503, 504})
"""Statuses after which a stream is asked for again; 0: no answer."""


class ApiError(Exception):
    """The API did not answer, or with a problem; the message says which.

    status: of the answer, 0 for none. retry_after_s: how long it asks to wait before the next request; 0: it does not.
    """

    def __init__(self, message: str, status: int = 0, retry_after_s: int = 0) -> None:
        """Take the message, the status of the answer, and the seconds of its `Retry-After`."""
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Followed(NamedTuple):
    """An event of a stream and the cursor behind it; without an event: the stream is alive, and at this cursor.

    has_next: the next event is at hand already.
    """

    event: dict[str, Any] | None
    cursor: str
    has_next: bool


class ApiClient:
    """A connection to the API of one worker; it answers for all."""

    def __init__(self, url: str, token: str | Callable[[], str | None] | None = None) -> None:
        """Take where it is, and the bearer token, or what returns the one that is valid now: each request asks it."""
        self._url = url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._session = aiohttp.ClientSession(timeout=timeout)
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

        A page may be empty while there is a next one: where partitions are behind or missing, that is asked for after a
        pause. So is one behind the first that the API refuses as too often.

        Raises:
            ApiError: it does not answer, or with a problem.
        """
        pauses = _Pauses()
        following: str | None = path
        is_first = True
        while following is not None:
            try:
                page = await self.ask("GET", following)
            except ApiError as error:
                if is_first or error.status != TOO_OFTEN:
                    raise
                await pauses.wait(error.retry_after_s)
                continue
            yield page
            following, is_first = page["next"], False
            if not _is_waiting(page):
                pauses.end()
            elif following is not None:
                await pauses.wait()

    async def follow(
        self, path: str, cursor: str | None = None, on_failure: Callable[[ApiError], None] | None = None
    ) -> AsyncGenerator[tuple[dict[str, Any] | None, str], None]:
        """Yield the events of `GET /v1/events?…` as they come, without end, each with the cursor behind it.

        path: with its query, without `follow`. cursor: behind which the stream begins. Without an event the stream is
        alive and at this cursor. Once it has begun, it is asked for again where it breaks off, after pauses that grow,
        and goes on behind the last cursor, with neither a gap nor a repetition. on_failure: called with the first error
        of each interruption.

        Raises:
            ApiError: the API refuses (a parameter, the cursor or the token is wrong), or does not answer at first.
        """
        async with aclosing(self.followed(path, cursor, on_failure)) as stream:
            async for event, behind, _ in stream:
                yield event, behind

    async def followed(
        self, path: str, cursor: str | None = None, on_failure: Callable[[ApiError], None] | None = None
    ) -> AsyncGenerator[Followed, None]:
        """Yield what `follow` does, and whether the next event is at hand."""
        streamed = f"{path}{'&' if '?' in path else '?'}follow=1"
        pauses = _Pauses()
        has_begun = is_told = False
        while True:
            asks_to_wait_s = 0
            try:
                async with aclosing(self._stream(streamed, cursor)) as stream:
                    async for each in stream:
                        cursor, has_begun, is_told = each.cursor, True, False
                        pauses.end()
                        yield each
            except ApiError as error:
                if not has_begun or error.status not in NOT_NOW:
                    raise
                if on_failure is not None and not is_told:
                    on_failure(error)
                is_told, asks_to_wait_s = True, error.retry_after_s
            await pauses.wait(asks_to_wait_s)

    async def _stream(self, path: str, cursor: str | None) -> AsyncGenerator[Followed, None]:
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
                    left += piece.replace(b"\r", b"")  # of a proxy's line ends; JSON and a cursor have none
                    *messages, left = left.split(b"\n\n")
                    found = [fields for fields in map(_fields, messages) if b"id" in fields]
                    for number, fields in enumerate(found, 1):
                        event = json.loads(fields[b"data"]) if b"data" in fields else None
                        yield Followed(event, fields[b"id"].decode(), number < len(found))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._is_none(str(error) or type(error).__name__) from error
        except RecursionError:  # it would at the next attempt, too
            raise ApiError("the next event nests deeper than can be read here", OK) from None

    def _requested(self, method: str, path: str, **how: Any) -> Any:
        assert self._session is not None  # noqa: S101 - begun
        token = self._token() if callable(self._token) else self._token
        headers = {"authorization": f"Bearer {token.strip()}"} if token else {}
        headers |= how.pop("headers", {})
        # As it stands: an id of dots, which a URL may not be cleaned of, is a segment like any other.
        url = URL(self._url + path, encoded=True)
        return self._session.request(method, url, allow_redirects=False, headers=headers, **how)

    def _require_answer(self, answer: aiohttp.ClientResponse, answered: Any) -> None:
        """Raise an ApiError where this is a problem, or where another service answers.

        Another service on this address, or a redirection, must not be taken for an answer: its 404 says nothing.
        """
        if answer.status >= 300:
            if not (isinstance(answered, dict) and str(answered.get("type")).startswith(PROBLEM_TYPE)):
                raise self._is_none(f"what is there answers with status {answer.status}")
            text = answer.headers.get(RETRY_AFTER, "")
            retry_after_s = int(text) if text.isascii() and text.isdigit() else 0  # the API says seconds
            detail = answered.get("detail") or "the API refuses"
            raise ApiError(f"{answer.status}: {detail}", answer.status, retry_after_s)
        if REQUEST_ID not in answer.headers:
            raise self._is_none("what is there answers as another service")

    def _is_none(self, reason: str) -> ApiError:
        return ApiError(f"no API answers at {self._url} ({reason}): set ANNALS_API_URL or --api")


class _Pauses:
    """Pauses, each twice as long as the one before, until something has come."""

    def __init__(self) -> None:
        self._next_s = AGAIN_S

    def end(self) -> None:
        """Begin with a short one next time."""
        self._next_s = AGAIN_S

    async def wait(self, at_least_s: float = 0.0) -> None:
        """Wait, as long as the API asks to at least."""
        await sleep(max(self._next_s, at_least_s))
        self._next_s = min(2 * self._next_s, LONGEST_PAUSE_S)


def _is_waiting(page: Mapping[str, Any]) -> bool:
    """Whether a page of a list has nothing, as partitions are behind or missing."""
    is_behind = any(page.get(name) for name in BEHIND)
    return is_behind and not any(isinstance(page[name], list) and page[name] for name in page.keys() - BEHIND)


def _fields(message: bytes | bytearray) -> dict[bytes, bytes]:
    """Return the fields of a server-sent message by their names; a comment (`: …`) has none."""
    parts = (line.partition(b":") for line in bytes(message).split(b"\n"))
    return {name: value.removeprefix(b" ") for name, _, value in parts}
