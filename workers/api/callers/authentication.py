"""Who asks, and whether the caller may: authenticators in their order, the first that knows the caller decides."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from annals.workers.api.http.problems import FORBIDDEN, UNAUTHORIZED, Problem
from annals.workers.api.http.routing import Principal, Scope
from annals.workers.api.http.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp.web import BaseRequest

    from annals.workers.api.http.routing import Route

ANYBODY: Final = Principal("anonymous", frozenset({Scope.ADMIN.value}))
BEARER: Final = "bearer"
KNOWN_HOSTS: Final = 128  # of a few KiB each at most, as a header is
CHALLENGE: Final = 'Bearer realm="annals"'


class Authenticator(Protocol):
    """Says who makes a request."""

    async def principal(self, request: BaseRequest, read_body: Callable[[], Awaitable[bytes]]) -> Principal | None:
        """Return who it is; None: this one cannot tell, the next is asked.

        Raises:
            Problem: the request is refused.
        """


class Tokens(Protocol):
    """Knows bearer tokens."""

    async def refresh(self) -> None:
        """Learn what has changed, if that was not looked at for some seconds."""

    def find(self, token: str) -> Principal | None:
        """Return whose token this is; None: it is none of these, or not valid now."""


class BearerAuthenticator:
    """Knows the caller by `Authorization: Bearer <token>`."""

    def __init__(self, sources: Sequence[Tokens]) -> None:
        """Take what knows tokens."""
        self._sources = sources

    async def principal(self, request: BaseRequest, read_body: Callable[[], Awaitable[bytes]]) -> Principal | None:
        """Return whose token was sent; None: none was."""
        del read_body
        given = request.headers.getall("authorization", [])
        if not given:
            return None
        scheme, _, token = given[0].partition(" ")
        if len(given) == 1 and scheme.lower() == BEARER:
            for source in self._sources:
                await source.refresh()
                found = source.find(token.strip())
                if found is not None:
                    return found
        raise unauthorized("the token is not known, or not valid now", 'error="invalid_token"')


class LoopbackAuthenticator:
    """Takes anybody, as long as no web page of another site can be the one that asks (DNS rebinding, CSRF)."""

    async def principal(self, request: BaseRequest, read_body: Callable[[], Awaitable[bytes]]) -> Principal | None:
        """Return anybody.

        Raises:
            Problem: `Host`, `Origin` or `Sec-Fetch-Site` say that it comes from another site.
        """
        del read_body
        check_same_site(request)
        return ANYBODY


def check_same_site(request: BaseRequest) -> None:
    """Refuse what a browser sends for a page of another site.

    Raises:
        Problem: it does.
    """
    headers, host = request.headers, target_of(request).host
    if not _leads_here(host):
        raise Problem(403, FORBIDDEN, "without authentication `Host` must be a loopback name or address")
    own = f"{request.scheme}://{host}".lower()
    if "origin" in headers and any(origin.lower() != own for origin in headers.getall("origin")):
        raise Problem(403, FORBIDDEN, "without authentication no `Origin` but its own is answered")
    sites = headers.getall("sec-fetch-site") if "sec-fetch-site" in headers else ()
    if any(site.lower() in {"cross-site", "same-site"} for site in sites):
        raise Problem(403, FORBIDDEN, "without authentication no request of another site is answered")


def is_loopback(host: str) -> bool:
    """Whether a name or an address leads to this machine alone, whatever a resolver says."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unauthorized(detail: str, error: str = "") -> Problem:
    """Return the problem of who is not known."""
    challenge = f"{CHALLENGE}, {error}" if error else CHALLENGE
    return Problem(401, UNAUTHORIZED, detail, headers={"www-authenticate": challenge})


def check_scope(principal: Principal, route: Route, values: Mapping[str, str]) -> None:
    """Refuse who may not do this.

    Raises:
        Problem: the principal lacks the scope.
    """
    if route.scope is None:
        return
    scope = f"{Scope.ACKS}:{values.get('name', '')}" if route.scope is Scope.ACKS else route.scope.value
    if not principal.may(scope):
        raise Problem(403, FORBIDDEN, f"this needs the scope {scope}", headers={})


@lru_cache(KNOWN_HOSTS)
def _leads_here(host: str) -> bool:
    """Whether a `Host` names this machine alone. Most requests have the one of the request before."""
    return is_loopback(_name_in(host))


def _name_in(host: str) -> str:
    """Return the name or address of a `Host`; nothing where it has more than that and a port."""
    try:
        parts = urlsplit(f"//{host}")
    except ValueError:
        return ""
    return "" if parts.netloc != host or "@" in host else parts.hostname or ""
