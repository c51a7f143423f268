"""The connections to a web server: bounded in number, in time, and in what waits to be sent or to be understood.

aiohttp bounds none of that. A client that connects and says nothing would hold a file for ever, and without files a
worker can open no store and reach no broker; one that asks and never reads would hold each answer whole.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

import structlog

from annals.workers.web.protocol import LINGER_S

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from annals.workers.web.protocol import HttpProtocol

MOST_CONNECTIONS: Final = 128  # an orchestrator, a scraper and some people; beyond, the longest silent one makes room
# Beside what is being answered. Longer than most scrape intervals, so that a scraper keeps its connection.
SILENT_S: Final = 75.0
HEAD_S: Final = 10.0  # from the first byte of a request to the end of its headers
HEAD_BYTES: Final = 64 << 10  # of its first line and headers together
STALLED_S: Final = 30.0  # in which a client takes nothing of what waits for it
UNSENT_BYTES: Final = 64 << 20  # of all answers that clients do not take, together
SWEEP_S: Final = 1.0
FEED_BYTES: Final = 16 << 10
BACKLOG: Final = 16
"""Connections that the kernel holds: where files run out, asyncio logs a line for each of so many attempts a second."""
_REFUSAL: Final = "HTTP/1.1 {}\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{}"
_logger: Final = structlog.get_logger(__name__)


async def listen(
    factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, backlog: int = BACKLOG
) -> tuple[asyncio.Server, int]:
    """Listen at an address (port 0: a free one); return the server and its port.

    Raises:
        OSError: the address is taken; or it is not this machine's, which has no errno in later releases of Python.
    """
    server = await asyncio.get_running_loop().create_server(factory, host, port, backlog=backlog)
    if not server.sockets:  # where IPv6 is switched off, say: asyncio passes over what it can make no socket of
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    bound: int = server.sockets[0].getsockname()[1]
    return server, bound


class Tls(Protocol):
    """What connections agree on TLS by, which may be another one later."""

    @property
    def value(self) -> ssl.SSLContext:
        """The certificate and how it is used."""

    async def refresh(self) -> None:
        """Learn what has changed, if that was not looked at for some seconds."""


class Limits(NamedTuple):
    """What clients may make a server hold: seconds and bytes."""

    silent_s: float = SILENT_S
    head_s: float = HEAD_S
    head_bytes: int = HEAD_BYTES
    stalled_s: float = STALLED_S
    unsent_bytes: int = UNSENT_BYTES


class Connections:
    """The connections that are open, the longest silent one first."""

    def __init__(
        self,
        most: int | Callable[[], int] = MOST_CONNECTIONS,
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        """Take how many may be open, and what each and all may have held for them."""
        self._most = most if callable(most) else lambda: most
        self._limits = limits
        self._heard: dict[asyncio.Transport, float] = {}
        self._answering: set[asyncio.Transport] = set()
        self._begun: dict[asyncio.Transport, tuple[float, _Guarded]] = {}
        self._unsent: dict[asyncio.Transport, tuple[float, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def most(self) -> int:
        """How many may be open."""
        return self._most()

    def __len__(self) -> int:
        return len(self._heard)

    def guard(self, make: Callable[[], HttpProtocol], tls: Tls | None = None) -> Callable[[], asyncio.Protocol]:
        """Return a protocol factory whose connections are counted here; with TLS, from before it is agreed on."""

        def guarded() -> _Guarded:
            return _Guarded(make(), self, self._limits.head_bytes)

        return guarded if tls is None else lambda: _Agreeing(guarded(), self, tls, self._limits.head_s)

    def answering(self, transport: asyncio.BaseTransport | None) -> None:
        """Count a connection as not silent: until `answered` it waits for an answer, or hears one that is long."""
        self._answering.add(cast("asyncio.Transport", transport))

    def answered(self, transport: asyncio.BaseTransport | None) -> None:
        """Count it as silent from now on, until it asks again."""
        counted = cast("asyncio.Transport", transport)
        self._answering.discard(counted)
        if counted in self._heard:
            self.heard(counted)

    def heard(self, transport: asyncio.Transport) -> None:
        """Note that a connection was made, or said something."""
        is_new = self._heard.pop(transport, None) is None
        if is_new and len(self._heard) >= self._most():
            longest = next(iter(self._heard))
            leaving = next((each for each in self._heard if each not in self._answering), longest)
            self.gone(leaving)  # at once: of those who come in one turn of the loop each would end the same one
            leaving.abort()
        self._heard[transport] = asyncio.get_running_loop().time()
        self._look_soon()

    def begun(self, transport: asyncio.Transport, guarded: _Guarded) -> None:
        """Note that the head of a request is not whole yet."""
        self._begun.setdefault(transport, (asyncio.get_running_loop().time(), guarded))

    def understood(self, transport: asyncio.Transport) -> None:
        """Note that a whole head of a request was heard."""
        self._begun.pop(transport, None)

    def stalled(self, transport: asyncio.Transport) -> None:
        """Note that a client does not take what is sent; where too much waits, the longest waiting one goes."""
        now = asyncio.get_running_loop().time()
        self._unsent.setdefault(transport, (now, transport.get_write_buffer_size()))
        waiting = {each: each.get_write_buffer_size() for each in self._unsent}
        total = sum(waiting.values())
        for each, size in list(waiting.items())[:-1]:  # a single answer may be larger than the bound
            if total <= self._limits.unsent_bytes:
                return
            total -= size
            self._end(each, "answers that clients do not take are too many bytes", size)

    def taken(self, transport: asyncio.Transport) -> None:
        """Note that a client took what was sent."""
        self._unsent.pop(transport, None)

    def gone(self, transport: asyncio.Transport) -> None:
        """Note that a connection is closed."""
        self._heard.pop(transport, None)
        self._answering.discard(transport)
        self._begun.pop(transport, None)
        self._unsent.pop(transport, None)
        if not self._heard and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_soon(self) -> None:
        if self._timer is None and self._heard:
            delay_s = min(SWEEP_S, *(self._limits.silent_s, self._limits.head_s, self._limits.stalled_s))
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for transport, (since, size) in list(self._unsent.items()):
            left = transport.get_write_buffer_size()
            if left < size:  # slowly, but it reads
                self._unsent[transport] = now, left
                self.heard(transport)
            elif now - since >= self._limits.stalled_s:
                self._end(transport, "a client does not take its answer", left)
        for since, guarded in list(self._begun.values()):
            if now - since >= self._limits.head_s:
                guarded.refuse("408 Request Timeout", f"a request's headers come within {self._limits.head_s:g} s")
        for transport in self._answering & self._heard.keys():
            self.heard(transport)
        for transport, heard in list(self._heard.items()):
            if now - heard < self._limits.silent_s:
                break
            self.gone(transport)
            transport.abort()
        self._look_soon()

    def _end(self, transport: asyncio.Transport, reason: str, size: int) -> None:
        self.gone(transport)
        _logger.info("a connection was closed", reason=reason, bytes=size)
        transport.abort()


class _Agreeing(asyncio.Protocol):
    """Agrees on TLS, and hands the connection on. asyncio would tell of none before that is done, for a minute."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections, tls: Tls, longest_s: float) -> None:
        self._inner = inner
        self._connections = connections
        self._tls = tls
        self._longest_s = longest_s
        self._task: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw = cast("asyncio.Transport", transport)
        raw.pause_reading()  # what comes is TLS's
        self._connections.heard(raw)
        self._task = asyncio.create_task(self._agree(raw), name="TLS of a connection")

    async def _agree(self, raw: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._tls.refresh()
            agreed = await loop.start_tls(
                raw, self, self._tls.value, server_side=True, ssl_handshake_timeout=self._longest_s
            )
        except (OSError, TimeoutError):  # no TLS, too slow, or gone: nobody waits for an answer
            return
        except RuntimeError:  # no thread to look at the files by: it is counted no more, and must not stay
            raw.abort()
            return
        finally:
            self._connections.gone(raw)
        if agreed is None or self._is_lost:
            return
        self._inner.connection_made(agreed)
        agreed.set_protocol(self._inner)
        if self._early:
            self._inner.data_received(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """Keep what comes with the end of the agreement."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_lost = True


class _Guarded(asyncio.Protocol):
    """Hands on to aiohttp's protocol what it hears, and tells of it. What is behind a whole request waits outside.

    aiohttp would take in the heads of 32 requests and of one more, which a client may fill as it likes.
    """

    def __init__(self, inner: HttpProtocol, connections: Connections, head_bytes: int) -> None:
        self._inner = inner
        self._connections = connections
        self._head_bytes = head_bytes
        self._size = 0
        self._waiting = bytearray()
        self._is_shut = False
        self._is_refused = False
        self._transport: Any = None
        inner.on_answered = self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.heard(self._transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._connections.heard(self._transport)
        self._waiting += data
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting:
            if self._is_refused or self._inner.is_lost or self._transport.is_closing():
                self._waiting.clear()
                break
            if self._inner.is_full:
                break
            part = bytes(self._waiting[:FEED_BYTES])
            del self._waiting[:FEED_BYTES]
            self._hand_on_part(part)
        if self._waiting:
            self._transport.pause_reading()
            return
        if not self._inner.is_paused:
            self._transport.resume_reading()
        if self._is_shut:
            self._inner.eof_received()

    def _hand_on_part(self, part: bytes) -> None:
        was_idle = not self._inner.has_request
        self._inner.data_received(part)
        if self._inner.has_request:
            self._size = 0
            self._connections.understood(self._transport)
            self._connections.answering(self._transport)
        elif was_idle:
            self._size += len(part)
            self._connections.begun(self._transport, self)
            if self._size > self._head_bytes:
                why = f"a request's first line and headers have at most {self._head_bytes} bytes"
                self.refuse("431 Request Header Fields Too Large", why)
        else:  # the end of a body whose request was answered before it was whole
            self._connections.answered(self._transport)

    def _answered(self) -> None:
        if not self._inner.has_request:
            self._connections.answered(self._transport)
        self._hand_on()

    def refuse(self, status: str, why: str) -> None:
        """Say what is wrong with what is no request yet, and close the connection a moment later.

        What comes in that moment is passed over (see `LINGER_S`).
        """
        self._is_refused = True
        self._connections.understood(self._transport)
        self._transport.write(_REFUSAL.format(status, len(why) + 1, f"{why}\n").encode())
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def eof_received(self) -> bool:
        """Return whether the connection stays: until all that was asked is answered, and for a moment at most.

        A client may shut its side behind its request and wait for the answer. One that is gone looks the same: its
        question ends after that moment. Over TLS, too, one may shut its side alone (RFC 8446, section 6.1): asyncio
        closes both.
        """
        self._is_shut = True
        if not self._waiting:
            self._inner.eof_received()
        if not self._inner.has_request or self._transport.get_extra_info("ssl_object") is not None:
            return False
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)
        return True

    def pause_writing(self) -> None:
        self._connections.stalled(self._transport)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._connections.taken(self._transport)
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.gone(self._transport)
        self._inner.connection_lost(exc)
