"""Posts requests to webhooks: one connection pool, bounded in time and bytes; follows nothing, and uses no proxy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
from yarl import URL

from annals.agents.defects import is_of_machine
from annals.agents.publishing.webhooks.addresses import is_address, is_allowed, refusal
from annals.workers.webhooks.connections import BODY_BYTES, AnswerTooLargeError, connector
from annals.workers.webhooks.resolver import AddressRefusedError, CheckedResolver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.publishing.webhooks.addresses import Network
    from annals.workers.webhooks.resolver import Lookup

CONNECT_S: Final = 5.0
UNUSED_S: Final = 10.0  # how long a connection is kept for the next request

TIMEOUT: Final = "timeout"
TOO_LARGE: Final = "answer_too_large"
ADDRESS_REFUSED: Final = "address_refused"
NOT_CONNECTED: Final = "not_connected"
TLS_FAILED: Final = "tls_failed"
BROKEN_OFF: Final = "broken_off"


class NoAnswerError(Exception):
    """No answer could be had. reason: one of the words above."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Reply(NamedTuple):
    """What an endpoint answered; nobody needs its body."""

    status: int
    retry_after: str | None


class WebhookSender:
    """The connections to all endpoints of a process."""

    def __init__(self, allowed: Sequence[Network], lookup: Lookup | None = None, connect_s: float = CONNECT_S) -> None:
        """Take the ranges that are permitted beside the public ones, and what looks names up."""
        self._allowed = allowed
        self._lookup = lookup
        self._connect_s = connect_s
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, within_s: float) -> Reply:
        """Post a body; return the answer, once all of it was read.

        Raises:
            NoAnswerError: there was none, or none that could be read within the limits.
            OSError: this machine has no file or memory for a connection; the endpoint was not asked.
        """
        target = URL(url, encoded=True)
        host = target.raw_host or ""
        if is_address(host) and (why := self._refusal(target.scheme, host)) is not None:
            raise NoAnswerError(ADDRESS_REFUSED, why)  # an address is not looked up
        timeout = aiohttp.ClientTimeout(total=within_s, connect=min(self._connect_s, within_s))
        try:
            async with self._session(target.scheme).post(
                target, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                read = 0
                async for chunk in response.content.iter_any():
                    read += len(chunk)
                    if read > BODY_BYTES:
                        response.close()  # what else comes on this connection is not read
                        raise NoAnswerError(TOO_LARGE, f"the answer has more than {BODY_BYTES} bytes")
                return Reply(response.status, response.headers.get("retry-after"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, OSError) and is_of_machine(error):  # aiohttp's has the errno of its cause
                raise
            raise _no_answer(error) from error

    def _refusal(self, scheme: str, address: str) -> str | None:
        if scheme != "https" and not is_allowed(address, self._allowed):
            return f"{address} is in no range of ANNALS_WEBHOOK_ALLOW, and http is for these alone"
        return refusal(address, self._allowed)

    def _session(self, scheme: str) -> aiohttp.ClientSession:
        """Return the session of a scheme: what may be connected to differs between the two."""
        if scheme not in self._sessions:
            self._sessions[scheme] = aiohttp.ClientSession(
                connector=connector(CheckedResolver(partial(self._refusal, scheme), self._lookup), UNUSED_S),
                headers={"user-agent": "annals", "accept-encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small answer could unpack to any size
                trust_env=False,
            )
        return self._sessions[scheme]


def _no_answer(error: Exception) -> NoAnswerError:
    message = str(error) or type(error).__name__
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return NoAnswerError(ADDRESS_REFUSED, str(cause))
    if isinstance(error, AnswerTooLargeError):
        return NoAnswerError(TOO_LARGE, message)
    if isinstance(error, TimeoutError):
        return NoAnswerError(TIMEOUT, "it did not answer in time")
    if isinstance(error, aiohttp.ClientSSLError):
        return NoAnswerError(TLS_FAILED, message)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NoAnswerError(NOT_CONNECTED, message)
    return NoAnswerError(BROKEN_OFF, message)
