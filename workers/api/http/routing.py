"""A route as data: the kernel serves it, and its description, tests and reference page are made of it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from annals.workers.api.http.problems import METHOD_NOT_ALLOWED, Problem, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON: Final = "application/json"
ETAG: Final = "ETag"
_NAME: Final = re.compile(r"\{([a-z_]+)\}")


class Scope(StrEnum):
    """What a caller must be allowed to do. `admin` includes the others; ACKS stands for `acks:<name of the path>`."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    ACKS = "acks"


class NoParameters(Struct, frozen=True):
    """A route without parameters."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. actor: what the `actor` of its commands is; None: what the command says.

    is_forwarded: another member passes the request on for it; such a request is never passed on again.
    """

    name: str
    scopes: frozenset[str]
    actor: str | None = None
    is_forwarded: bool = False

    def may(self, scope: str) -> bool:
        """Whether it is allowed to do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class Call(Struct, frozen=True):
    """One request, checked: parameters of the route's type, the body as it came (empty: none).

    started, deadline: of the monotonic clock; the answer must have begun by the deadline.
    """

    parameters: Any
    body: bytes
    headers: Mapping[str, str]
    path: str
    principal: Principal
    request_id: str
    started: float
    deadline: float


CALL: ContextVar[Call] = ContextVar("annals_api_call")
"""The request that the running task answers: for ports that pass it on to another process."""


class Answer(Struct, frozen=True):
    """An answer: its body whole, or in pieces as they come. etag: without quotes."""

    body: bytes | AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = JSON
    etag: str | None = None
    headers: dict[str, str] = {}


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    path: segments beginning with `/`, `{name}` for one that is a parameter. scope: None: anybody. body, answer: msgspec
    types; None: none. other_answers: by status. problems: the statuses of its problems beside those that every route
    has. content_types: of the answer, beside JSON. headers, answers_with: of the request, and of the answer, which are
    its own, each with what it says.
    is_stream: has no deadline. is_conditional: who has the answer, by its ETag, is answered 304.
    """

    method: str
    path: str
    scope: Scope | None
    summary: str
    parameters: type[Struct]
    answer: Any
    handler: Handler
    body: Any = None
    status: int = 200
    other_answers: tuple[tuple[int, Any], ...] = ()
    problems: tuple[int, ...] = ()
    content_types: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    answers_with: tuple[tuple[str, str], ...] = ()
    most_body_bytes: int = 1 << 20
    is_stream: bool = False
    is_conditional: bool = False
    is_described: bool = True

    @property
    def is_administrative(self) -> bool:
        """Whether a call is recorded durably before it is answered: all that only administrators may do."""
        return self.scope is Scope.ADMIN

    @property
    def path_names(self) -> tuple[str, ...]:
        """The parameters in the path."""
        return tuple(_NAME.findall(self.path))


class Match(Struct, frozen=True):
    """The route of a request, and what its path says, decoded."""

    route: Route
    values: dict[str, str]


class Router:
    """Finds routes. A fixed segment goes before a parameter: `/v1/events/x` is never an aggregate's."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Take the routes; two of one method and path are a defect."""
        self.routes: Final = tuple(routes)
        self._tree: dict[str | None, Any] = {}
        for route in self.routes:
            methods = self._tree
            for segment in route.path.split("/")[1:]:
                methods = methods.setdefault(None if _NAME.fullmatch(segment) else segment, {})
            named = methods.setdefault("", {})
            if route.method in named:
                raise ValueError(f"two routes for {route.method} {route.path}")
            named[route.method] = route, route.path_names

    def match(self, method: str, raw_path: str) -> Match:
        """Return the route of a path as it was sent.

        Raises:
            Problem: there is none (404), or none of this method (405); the path is not UTF-8 (400).
        """
        segments = raw_path.split("/")[1:]
        if "%" in raw_path or not raw_path.isascii():  # else there is nothing to decode
            segments = [_decoded(segment) for segment in segments]
        found = _find(self._tree, segments, 0)
        if found is None:
            raise not_found("there is no such path; GET /v1/openapi.json lists all")
        methods: dict[str, tuple[Route, tuple[str, ...]]]
        methods, values = found
        named = methods.get("GET" if method == "HEAD" else method)
        if named is None:
            allowed = sorted({*methods, "HEAD"} if "GET" in methods else methods)
            raise Problem(
                405,
                METHOD_NOT_ALLOWED,
                f"this path has {', '.join(allowed)}",
                headers={"allow": ", ".join(allowed)},
            )
        route, names = named
        return Match(route, dict(zip(names, reversed(values), strict=True)))


def _find(tree: dict[str | None, Any], segments: list[str], at: int) -> tuple[dict[str, Any], list[str]] | None:
    """Return the methods of a path's segments from one on, and those that are parameters, the last one first."""
    if at == len(segments):
        return (tree[""], []) if "" in tree else None
    segment = segments[at]
    if not segment:
        return None
    if segment in tree:
        found = _find(tree[segment], segments, at + 1)
        if found is not None:
            return found
    if None in tree:
        found = _find(tree[None], segments, at + 1)
        if found is not None:
            found[1].append(segment)
            return found
    return None


def _decoded(segment: str) -> str:
    """Return a segment of a path, its percent-encoding undone: it may have any character, `/` too."""
    try:
        return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise invalid("", "the path is not UTF-8") from None
