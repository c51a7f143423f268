"""aiohttp's protocol, which tells a method that its parser does not know from what is no HTTP.

The parser gives up at such a method before it has read the path, and aiohttp answers `400`. But any token is a method
(RFC 9110, section 9.1), and a path that does not have it is answered `405`.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

from aiohttp.http_exceptions import BadHttpMethod
from aiohttp.web_protocol import RequestHandler

_REQUEST_LINE: Final = re.compile(
    rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}) ([^\x00-\x20\x7f]+) HTTP/1\.[01]\r?\n"
)


class UnknownMethodError(BadHttpMethod):
    """A request of a method that the parser does not know. target: as it was sent, not decoded."""

    def __init__(self, method: str, target: str) -> None:
        super().__init__(method)
        self.method = method
        self.target = target


class HttpProtocol(RequestHandler):
    """Hands an `UnknownMethodError` to `handle_error` where the parser only says that the method is bad.

    A client that has shut its side is answered what it has asked, and the connection closed behind that.
    """

    __slots__ = ("_is_shut",)

    def __init__(self, manager: Any, **options: Any) -> None:
        """Take aiohttp's server, and the options of its protocol."""
        super().__init__(manager, **options)
        self._parser = cast("Any", _Parser(self._parser))
        self._is_shut = False

    @property
    def has_request(self) -> bool:
        """Whether the head of a request was heard that is not answered yet."""
        return bool(self._messages) or self._waiter is None

    def eof_received(self) -> None:
        """Note that nothing more is asked."""
        self._is_shut = True
        self._close_behind_last()

    async def finish_response(self, *args: Any) -> Any:
        """Send an answer."""
        self._close_behind_last()
        return await super().finish_response(*args)

    def _close_behind_last(self) -> None:
        """Have aiohttp close the connection behind the answer under way, where it is the last that is wanted."""
        if self._is_shut and not self._messages:
            self.close()


class _Parser:
    """aiohttp's parser of requests."""

    def __init__(self, parser: Any) -> None:
        self._inner = parser

    def feed_data(self, data: bytes) -> Any:
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
