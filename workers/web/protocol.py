"""aiohttp's protocol as both servers have it: what strangers send has bounds, fills no log, and is told what is wrong.

It tells a method that its parser does not know from what is no HTTP. The parser gives up at such a method before it has
read the path, and aiohttp answers `400`. But any token is a method (RFC 9110, section 9.1), and a path that does not
have it is answered `405`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError
from aiohttp.web_protocol import RequestHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    AnswerOf = Callable[[web.BaseRequest, int, BaseException | None], web.StreamResponse]

LONGEST_LINE: Final = 8 << 10  # of the request's first line, and of each header
MOST_HEADERS: Final = 100
LINGER_S: Final = 1.0
"""Closed with something in it that was not read, a connection would take the answer away from the client."""
_SILENT: Final = logging.getLogger("annals.web.parser")
_SILENT.setLevel(logging.CRITICAL)  # a stranger's bad requests fill no log
_REQUEST_LINE: Final = re.compile(
    rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}) ([^\x00-\x20\x7f]+) HTTP/1\.[01]\r?\n"
)


def what_is_wrong(error: BaseException | None) -> str:
    """Return what to tell whoever sent what is no HTTP: what aiohttp says of it, without what was sent."""
    said = getattr(error, "message", "").partition(":")[0].strip() if isinstance(error, HttpProcessingError) else ""
    bounds = f"a line has at most {LONGEST_LINE} bytes, and a request {MOST_HEADERS} headers"
    return f"this is no HTTP request that can be taken: {said or 'it cannot be read'}; {bounds}"


class UnknownMethodError(BadHttpMethod):
    """A request of a method that the parser does not know. target: as it was sent, not decoded."""

    def __init__(self, method: str, target: str) -> None:
        super().__init__(method)
        self.method = method
        self.target = target


class HttpProtocol(RequestHandler):
    """Answers what is no HTTP, and an `UnknownMethodError` where the parser only says that the method is bad.

    A client that has shut its side is answered what it has asked, and the connection closed behind that. One that sends
    what is no HTTP has a moment to take the answer before the connection is closed: whatever it sends yet is passed
    over.
    """

    __slots__ = ("_answer_of", "_has_left", "_is_answering", "_is_shut", "_last_body", "on_answered")

    def __init__(self, manager: Any, answer_of: AnswerOf, **options: Any) -> None:
        """Take aiohttp's server, what answers a request that failed by no handler's doing, and aiohttp's options."""
        self._answer_of = answer_of
        super().__init__(
            manager,
            access_log=cast("Any", None),
            logger=_SILENT,
            auto_decompress=False,  # a small body could unpack to any size
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
            **options,
        )
        self._parser = cast("Any", _Parser(self._parser))
        self._is_shut = False
        self._has_left = asyncio.Event()
        self._is_answering = False
        self._last_body: Any = None
        self.on_answered: Callable[[], None] | None = None
        """Called when a request is answered."""

    @property
    def has_request(self) -> bool:
        """Whether the head of a request was heard that is not answered yet, or of whose body more is to come."""
        return bool(self._messages) or self._is_answering or not self._is_body_whole

    @property
    def is_full(self) -> bool:
        """Whether a whole request was heard that is not answered yet: what comes now belongs to another one."""
        return self.has_request and self._is_body_whole

    @property
    def is_lost(self) -> bool:
        """Whether what was heard is no HTTP, so that nothing that comes behind it can be understood."""
        parser: Any = self._parser
        return parser is not None and bool(parser.has_failed)

    @property
    def is_paused(self) -> bool:
        """Whether aiohttp wants to hear nothing now."""
        return bool(self._reading_paused or self._buffer_paused)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return what is wrong; the connection is closed behind it."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = self._answer_of(request, status, exc)
        response.force_close()
        return response

    def data_received(self, data: bytes) -> None:
        """Take what a client says."""
        super().data_received(data)
        self._note_heard()

    def eof_received(self) -> None:
        """Note that nothing more is asked."""
        self._is_shut = True
        self._has_left.set()
        self._close_behind_last()

    async def finish_response(self, *args: Any) -> Any:
        """Send an answer."""
        self._close_behind_last()
        finished = await super().finish_response(*args)
        if self.is_lost and not self._messages:
            await self._linger()
        self._is_answering = False
        self._note_heard()  # aiohttp may have taken up what was held behind it
        if self.on_answered is not None:
            self.on_answered()
        return finished

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that the client is gone."""
        self._has_left.set()
        super().connection_lost(exc)

    async def _linger(self) -> None:
        """Wait until the client has heard that nothing more is said, and shut its side; for a moment at most."""
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._has_left.wait()

    @property
    def _is_body_whole(self) -> bool:
        return self._last_body is None or bool(self._last_body.is_eof())

    def _note_heard(self) -> None:
        if self._messages:
            self._is_answering = True
            self._last_body = self._messages[-1][1]

    def _close_behind_last(self) -> None:
        """Have aiohttp close the connection behind the answer under way, where it is the last that is wanted."""
        if self._is_shut and not self._messages:
            self.close()


class _Parser:
    """aiohttp's parser of requests. has_failed: it has met what is no HTTP."""

    def __init__(self, parser: Any) -> None:
        self._inner = parser
        self.has_failed = False

    def feed_data(self, data: bytes) -> Any:
        try:
            return self._feed(data)
        except HttpProcessingError:
            self.has_failed = True
            raise

    def _feed(self, data: bytes) -> Any:
        try:
            return self._inner.feed_data(data)
        except BadHttpMethod:
            # Only at the start: behind another request of the same packet, that one would be taken for answered.
            line = _REQUEST_LINE.match(data)
            if line is None:
                raise
            raise UnknownMethodError(line[1].decode(), line[2].decode("utf-8", "surrogateescape")) from None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if callable(found):  # aiohttp asks for each of them at every request
            setattr(self, name, found)
        return found
