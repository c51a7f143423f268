"""Bodies of requests: read once, bounded in size and time, JSON alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.workers.api.http.problems import REQUEST_TIMEOUT, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Problem, not_ready
from annals.workers.api.http.routing import JSON

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

BODY_TIMEOUT_S: Final = 10.0
ALL_BODIES_BYTES: Final = 64 << 20  # of all requests that are being answered; the largest body has two MiB


class Room:
    """What the bodies of all requests may take together, until they are answered."""

    def __init__(self, most_bytes: int = ALL_BODIES_BYTES) -> None:
        """Begin with none."""
        self._left = most_bytes

    def take(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            Problem: they are not there.
        """
        if count > self._left:
            raise not_ready("too many large bodies are being taken at once", is_last=True)
        self._left -= count

    def give_back(self, count: int) -> None:
        """Give bytes back that were taken."""
        self._left += count


class Body:
    """The body of one request."""

    def __init__(self, request: BaseRequest, most_bytes: int, room: Room) -> None:
        """Take the request, how large a body is taken, and the room that all have."""
        self._request = request
        self._most_bytes = most_bytes
        self._room = room
        self._taken = 0
        self._read: bytes | None = None

    async def read(self) -> bytes:
        """Return the body; empty where there is none.

        Raises:
            Problem: it is too large, too slow, compressed, or not JSON by its content type.
        """
        if self._read is None:
            self._read = await self._checked() if self._request.body_exists else b""
        return self._read

    def close(self) -> None:
        """Give its room back: the request is answered."""
        if self._taken:
            self._room.give_back(self._taken)
            self._taken = 0

    async def _checked(self) -> bytes:
        request = self._request
        if (request.content_length or 0) > self._most_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                await self._continue()
                body = await self._bounded()
        except TimeoutError:
            raise Problem(
                408,
                REQUEST_TIMEOUT,
                f"the body did not come within {BODY_TIMEOUT_S:.0f} s",
                is_last=True,
            ) from None
        if body and any(each.lower() != "identity" for each in request.headers.getall("content-encoding", [])):
            raise Problem(415, UNSUPPORTED_MEDIA_TYPE, "a body is sent as it is, without content-encoding")
        if body and request.content_type != JSON:
            raise Problem(415, UNSUPPORTED_MEDIA_TYPE, f"a body needs content-type: {JSON}")
        return body

    async def _continue(self) -> None:
        """Tell who waits for it to send the body."""
        request = self._request
        if request.headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # by which aiohttp tells whether the answer has begun

    async def _bounded(self) -> bytes:
        body = bytearray()
        async for part in self._request.content.iter_any():
            body += part
            self._room.take(len(part))
            self._taken += len(part)
            if len(body) > self._most_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> Problem:
        return Problem(413, TOO_LARGE, f"a body has at most {self._most_bytes} bytes here", is_last=True)
