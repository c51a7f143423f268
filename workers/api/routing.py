"""A route as data: the kernel serves it, and its description, tests and reference page are made of it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from annals.workers.api.problems import METHOD_NOT_ALLOWED, Problem, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

JSON: Final = "application/json"
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


@dataclass(frozen=True, slots=True)
class Call:
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


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its body whole, or in pieces as they come. etag: without quotes."""

    body: bytes | AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = JSON
    etag: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    path: segments beginning with `/`, `{name}` for one that is a parameter. scope: None: anybody. body, answer: msgspec
    types; None: none. other_answers: by status. problems: the statuses of its problems beside those that every route
    has. content_types: of the answer, beside JSON. is_administrative: recorded durably before it is answered.
    is_stream: has no deadline.
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
    most_body_bytes: int = 1 << 20
    is_administrative: bool = False
    is_stream: bool = False
    is_described: bool = True

    @property
    def path_names(self) -> tuple[str, ...]:
        """The parameters in the path."""
        return tuple(_NAME.findall(self.path))


@dataclass(frozen=True, slots=True)
class Match:
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
            named[route.method] = route

    def match(self, method: str, raw_path: str) -> Match:
        """Return the route of a path as it was sent.

        Raises:
            Problem: there is none (404), or none of this method (405); the path is not UTF-8 (400).
        """
        segments = [_decoded(segment) for segment in raw_path.split("/")[1:]]
        found = self._find(self._tree, segments)
        if found is None:
            raise not_found("there is no such path; GET /v1/openapi.json lists all")
        methods: dict[str, Route]
        methods, values = found
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted({*methods, "HEAD"} if "GET" in methods else methods)
            raise Problem(
                405,
                METHOD_NOT_ALLOWED,
                f"this path has {', '.join(allowed)}",
                headers={"allow": ", ".join(allowed)},
            )
        return Match(route, dict(zip(route.path_names, values, strict=True)))

    def _find(self, tree: dict[str | None, Any], segments: list[str]) -> tuple[dict[str, Route], list[str]] | None:
        if not segments:
            return (tree[""], []) if "" in tree else None
        first, *rest = segments
        if first and first in tree:
            found = self._find(tree[first], rest)
            if found is not None:
                return found
        if first and None in tree:
            found = self._find(tree[None], rest)
            if found is not None:
                return found[0], [first, *found[1]]
        return None


def _decoded(segment: str) -> str:
    """Return a segment of a path, its percent-encoding undone: it may have any character, `/` too."""
    try:
        return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise invalid("", "the path is not UTF-8") from None
