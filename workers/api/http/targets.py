"""Request targets: a path and query, or a whole URL as proxies send it, which every server must take (RFC 9112)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

SCHEMES: Final = ("http://", "https://")


class Target(NamedTuple):
    """What is asked for, and of which host; path: with the query, as it was sent."""

    host: str
    path: str


def target_of(request: BaseRequest) -> Target:
    """Return a request's target. The host of a whole URL goes before the header `Host`."""
    return target_sent(request.raw_path, request.headers.get("host", ""))


def target_sent(sent: str, host: str = "") -> Target:
    """Return the target of a request's first line; host: of its header."""
    if sent.startswith("/"):
        return Target(host, sent)
    scheme = next((each for each in SCHEMES if sent[: len(each)].lower() == each), None)
    if scheme is None:
        return Target(host, sent)
    rest = sent[len(scheme) :]
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    path = rest[end:]
    return Target(rest[:end], path if path.startswith("/") else f"/{path}")
