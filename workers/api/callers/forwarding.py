"""The header `annals-forwarded`: one worker asks another in the name of its caller, whose token stays where it is.

Its value is `<claims>.<mac>`, both base64url without padding: the claims as JSON (`to`: the id of the member that is
asked, `principal` and `scopes` of the caller, `time` in milliseconds), and an HMAC-SHA256 with the group's peer key
over a line each of `annals-forwarded v1`, the method, path and query as sent, SHA-256 of the body in hex, and the
claims.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from annals.schemas.depth import decoded
from annals.workers.api.callers.authentication import check_same_site, is_loopback
from annals.workers.api.http.problems import FORBIDDEN, Problem
from annals.workers.api.http.routing import Principal
from annals.workers.api.http.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from aiohttp.web import BaseRequest

    from annals.agents.reading.ports import Members

HEADER: Final = "annals-forwarded"
FORM: Final = b"annals-forwarded v1"
AHEAD_OR_BEHIND_MS: Final = 30_000
HEADER_CHARACTERS: Final = 8_190
MISDIRECTED: Final = "misdirected_request"


class ForwardedRefusedError(Exception):
    """The header does not verify: nothing of the request is believed (403)."""


class MisdirectedError(Exception):
    """The request was made for another member (421)."""


class Caller(NamedTuple):
    """In whose name is asked."""

    principal: str
    scopes: tuple[str, ...]


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a forwarded request says of itself."""

    to: str
    principal: str
    scopes: tuple[str, ...]
    time: int


_CLAIMS: Final = msgspec.json.Decoder(Claims)


class Forwarding:
    """Signs and verifies forwarded requests.

    Without authentication everybody on this machine may ask anything, so that no key is needed, and nothing is sent to
    another machine. With authentication and without a key, nothing is forwarded, and nothing that says so is believed.
    """

    def __init__(self, key: bytes | None, now: Callable[[], datetime], *, authenticates: bool) -> None:
        """Take the group's key, the time, and whether callers of this API are authenticated."""
        self._key = b"" if key is None and not authenticates else key
        self._now = now
        self._loopback_only = not authenticates

    @property
    def has_secret(self) -> bool:
        """Whether only workers of the group can sign."""
        return bool(self._key)

    def refusal(self, url: str | None) -> str | None:
        """Return why nothing may be sent to a URL; None if it may."""
        if self._key is None:
            return "ANNALS_API_PEER_KEY_FILE is not set, without which workers do not ask each other"
        if url is None:
            return "it tells no address (ANNALS_API_ADVERTISED_URL)"
        try:
            parsed = urlsplit(url)
            host, user, _ = parsed.hostname, parsed.username, parsed.port
        except ValueError:
            host = user = None
        if not host or parsed.scheme not in {"http", "https"} or user is not None or parsed.query or parsed.fragment:
            return f"its address {url!r} is no plain http or https URL"
        if self._loopback_only and not is_loopback(host):
            return f"its address {url!r} is on another machine, and this API is without authentication"
        return None

    def sign(self, method: str, path_query: str, body: bytes, to: str, caller: Caller) -> str:
        """Return the header's value for a request to a member."""
        claims = Claims(to, caller.principal, caller.scopes, self._milliseconds())
        encoded = _base64(msgspec.json.encode(claims))
        return f"{encoded}.{_base64(self._mac(method, path_query, body, encoded))}"

    def verify(self, value: str, method: str, path_query: str, body: bytes, me: str | None) -> Caller:
        """Return in whose name a request is made; me: this member's id.

        Raises:
            ForwardedRefusedError: the header is not by a worker of this group, for this request and of this moment.
            MisdirectedError: it is for another member.
        """
        encoded, _, mac = value.partition(".")
        if self._key is None or len(value) > HEADER_CHARACTERS:
            raise ForwardedRefusedError("this worker takes no forwarded requests")
        if not value.isascii() or not hmac.compare_digest(_base64(self._mac(method, path_query, body, encoded)), mac):
            raise ForwardedRefusedError("the header annals-forwarded does not verify")
        try:
            claims = decoded(_CLAIMS.decode, urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        except ValueError:  # that of base64 among others
            raise ForwardedRefusedError("the header annals-forwarded cannot be read") from None
        if abs(self._milliseconds() - claims.time) > AHEAD_OR_BEHIND_MS:
            raise ForwardedRefusedError("the header annals-forwarded is of another time: are the clocks right?")
        if claims.to != me:
            raise MisdirectedError("the request is for another member of the group")
        return Caller(claims.principal, claims.scopes)

    def _mac(self, method: str, path_query: str, body: bytes, encoded: str) -> bytes:
        parts = FORM, method.encode(), path_query.encode(), sha256(body).hexdigest().encode(), encoded.encode()
        return hmac.digest(self._key or b"", b"\n".join(parts), "sha256")

    def _milliseconds(self) -> int:
        return int(self._now().timestamp() * 1_000)


class ForwardedAuthenticator:
    """Knows the caller by the header `annals-forwarded`; whoever sends one that does not verify is refused."""

    def __init__(self, forwarding: Forwarding, members: Members) -> None:
        """Take how headers are verified, and which member this is."""
        self._forwarding = forwarding
        self._members = members

    async def principal(self, request: BaseRequest, read_body: Callable[[], Awaitable[bytes]]) -> Principal | None:
        """Return for whom another worker asks; None: none does.

        Raises:
            Problem: the header does not verify, or the request is for another member.
        """
        values = request.headers.getall(HEADER, [])
        if not values:
            return None
        if not self._forwarding.has_secret:  # anybody can sign: a web page of another site, too
            check_same_site(request)
        me = self._members.me
        try:
            caller = self._forwarding.verify(
                ",".join(values),
                request.method,
                target_of(request).path,
                await read_body(),
                None if me is None else me.id,
            )
        except ForwardedRefusedError as error:
            raise Problem(403, FORBIDDEN, str(error)) from None
        except MisdirectedError as error:
            raise Problem(421, MISDIRECTED, str(error)) from None
        return Principal(caller.principal, frozenset(caller.scopes), is_forwarded=True)


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
