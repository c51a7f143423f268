"""What routes of what was set aside have in common: which records are meant, pages of them, decisions about them.

Dead letters and parked events are filtered by the same members; `where` of a body has those of a list.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from msgspec import Meta, Struct

from annals.schemas.values.moments import bound_of, recorded_at
from annals.schemas.wire.strict_json import NotJsonError, parse_strict
from annals.workers.api.gathered import BAD_CURSOR
from annals.workers.api.http.problems import InvalidMember, Problem, all_invalid, invalid
from annals.workers.api.http.routing import Route, Scope
from annals.workers.registry import deciders, unknown_kind

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping

    from annals.schemas.data.validation import Validator
    from annals.schemas.wire.strict_json import Fault
    from annals.workers.api.http.routing import Handler

T = TypeVar("T", bound=Struct)

PAGE: Final = 100
LONGEST_REASON: Final = 500
FILTERS: Final = frozenset({"kind", "aggregate_id", "type", "reason", "since", "until"})

Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Why = Annotated[str, Meta(min_length=1, max_length=LONGEST_REASON)]


class AggregateNamed(Struct, frozen=True, forbid_unknown_fields=True):
    """An aggregate."""

    kind: str
    id: str


class WantedRecords(Struct, frozen=True, forbid_unknown_fields=True):
    """Those that all of these hold of."""

    reason: str | None = None
    kind: str | None = None
    type: str | None = None
    since: str | None = None
    until: str | None = None


def listed_filters(asked: Struct) -> dict[str, Any]:
    """Return the filters of a list's parameters, in their order; moments as they are compared."""
    given = {name: getattr(asked, name) for name in asked.__struct_fields__ if name in FILTERS}
    return {name: recorded_at(value) if isinstance(value, datetime) else value for name, value in given.items()}


def require_known(asked: Any, unknown: Mapping[str, Callable[[Any], str | None]], path: str = "") -> None:
    """Refuse filters that there is no value for. For who found none: anything may have been set aside.

    unknown: by filter, what says what is wrong with its value, and None where nothing is. path: before their names.

    Raises:
        Problem: 400; each is named with what was meant.
    """
    said = {name: say(value) for name, say in unknown.items() if (value := getattr(asked, name)) is not None}
    if wrong := [InvalidMember(path + name, message) for name, message in said.items() if message is not None]:
        raise all_invalid(wrong)


def kinds_asked_for(asked: Any) -> list[str]:
    """Return the kinds that a list is asked for."""
    return list(deciders()) if asked.kind is None else [asked.kind]


def next_page(path: str, asked: Any, place: tuple[int, ...] | None) -> str | None:
    """Return path and query of the page that begins at a place; None without one."""
    if place is None:
        return None
    query = {name: value for name, value in listed_filters(asked).items() if value is not None}
    return f"{path}?{urlencode({**query, 'limit': asked.limit, 'cursor': '-'.join(map(str, place))})}"


def place_of(cursor: str, form: re.Pattern[str]) -> tuple[int, ...]:
    """Return the numbers of a cursor.

    Raises:
        Problem: it is none (400).
    """
    match = form.fullmatch(cursor)
    if match is None:
        raise Problem(400, BAD_CURSOR, "cursor: is none that a page gave")
    return tuple(map(int, match.groups()))


def require_one(asked: Any, member: str) -> None:
    """Raise a Problem (400) where a body has not exactly one of a member with places, `aggregate` and `all`."""
    if sum([getattr(asked, member) is not None, asked.aggregate is not None, asked.all]) != 1:
        raise invalid("", f"must have exactly one of {member}, aggregate and all: true")


def body_filters(where: WantedRecords, aggregate: AggregateNamed | None) -> dict[str, Any]:
    """Return the filters of a body.

    Raises:
        Problem: the aggregate is of another kind than is wanted, or a moment is none (400).
    """
    if aggregate is not None and where.kind not in {None, aggregate.kind}:
        raise invalid("where.kind", "is not the kind of the aggregate")
    for path, kind in (("where.kind", where.kind), ("aggregate.kind", None if aggregate is None else aggregate.kind)):
        if kind is not None and (said := unknown_kind(kind)) is not None:
            raise invalid(path, said)
    return {
        "kind": where.kind if aggregate is None else aggregate.kind,
        "aggregate_id": None if aggregate is None else aggregate.id,
        "type": where.type,
        "reason": where.reason,
        "since": _moment_at("where.since", where.since),
        "until": _moment_at("where.until", where.until),
    }


def json_object(body: bytes) -> tuple[dict[str, Any], list[Fault]]:
    """Return the object that a body is, and what is wrong with members of it; Problem (400) if it is none."""
    try:
        value, faults = parse_strict(body)
    except NotJsonError as error:
        raise invalid("", str(error)) from None
    if not isinstance(value, dict):
        raise invalid("", "must be a JSON object")
    return value, list(faults)


def read_body(body: bytes, shape: Validator[T]) -> T:
    """Return what a body says; Problem (400) with each member that offends if it is not of this shape."""
    value, faults = json_object(body)
    found = faults or shape.parse(value, "")
    if isinstance(found, list):
        raise all_invalid([InvalidMember(path.removeprefix("."), message) for path, message in found])
    return found


def decides(
    path: str,
    summary: str,
    parameters: type[Struct],
    body: type[Struct],
    answer: type[Struct],
    handler: Handler,
    **told: Any,
) -> Route:
    """Return a route by which an administrator decides; told: what else is told of it."""
    return Route(
        "POST",
        path,
        Scope.ADMIN,
        summary,
        parameters,
        answer,
        handler,
        body=body,
        status=202,
        **told,
    )


def _moment_at(path: str, text: str | None) -> str | None:
    try:
        return None if text is None else recorded_at(bound_of(text))
    except ValueError as error:
        raise invalid(path, str(error)) from None
