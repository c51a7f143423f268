"""Connections to endpoints that are read no further than an answer may be long, whatever it consists of.

aiohttp bounds lines and the number of headers. But `100 Continue`, empty lines and pieces of one byte may follow one
another for ever: each is small and well-formed, and the event loop does nothing else as long as there are more of them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

BODY_BYTES: Final = 64 << 10
ANSWER_BYTES: Final = BODY_BYTES + (16 << 10)  # with its headers, and whatever is before and between them


class AnswerTooLargeError(aiohttp.ClientError):
    """An endpoint sends more than is read."""


class _Response(ResponseHandler):
    """Counts what comes for one request, before it is parsed."""

    _received = 0

    def set_response_params(self, **params: Any) -> None:
        """Begin with the answer to another request."""
        self._received = 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take what has come, or end the connection."""
        self._received += len(data)
        if self._received <= ANSWER_BYTES:
            super().data_received(data)
        elif self.transport is not None:
            error = AnswerTooLargeError(f"the answer has more than {ANSWER_BYTES} bytes")
            self.set_exception(error)
            if self._payload is not None:  # the headers were taken: who reads the body is told there
                self._payload.set_exception(error)
                self._payload = None  # the end of the connection would say something else
            self.transport.abort()  # else it ends when the endpoint has taken what is written, if it ever reads

    def close(self) -> None:
        """End the connection, whatever its endpoint has not taken yet."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        super().close()


def connector(resolver: AbstractResolver, unused_s: float) -> aiohttp.TCPConnector:
    """Return what makes them; unused_s: how long one is kept for the next request."""
    made = aiohttp.TCPConnector(limit=0, resolver=resolver, use_dns_cache=False, keepalive_timeout=unused_s)
    factory: Any = partial(_Response, loop=made._loop)  # noqa: SLF001 - there is no other way to it
    made._factory = factory  # noqa: SLF001 - as above
    return made
