"""Parameters of the path and the query, read strictly by the type of the route: each is known, right and given once.

A struct's field is a parameter; a list may be given several times. `Kind` is 404 where there is no such kind.
"""

from __future__ import annotations

import re
import typing
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from annals.schemas.values.ids import LONGEST_ID, id_problem
from annals.schemas.values.moments import bound_of, exact, issued_at_problem, moment_of
from annals.workers.api.problems import InvalidMember, all_invalid, not_found
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

MOST_PARAMETERS: Final = 64
GREATEST: Final = 2**63 - 1  # what a larger number is taken for: nothing has that many
_INTEGER: Final = re.compile(r"(-?)([0-9]{1,4000})", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)

Kind = Annotated[str, Meta(description="A kind of aggregates.", extra={"is_kind": True})]
Id = Annotated[
    str, Meta(min_length=1, max_length=LONGEST_ID, description="An id, percent-encoded.", extra={"is_id": True})
]
Moment = Annotated[datetime, Meta(description="An RFC 3339 date-time.")]
Bound = Annotated[datetime, Meta(description="An RFC 3339 date-time.", extra={"is_bound": True})]
ExactMoment = Annotated[
    str,
    Meta(description="An RFC 3339 date-time.", extra={"is_exact": True}, extra_json_schema={"format": "date-time"}),
]
Limit = Annotated[int, Meta(ge=1, le=1000, description="At most so many.")]
Wait = Annotated[float, Meta(ge=0, le=60, description="Seconds to wait.")]
Version = Annotated[int, Meta(ge=1, description="A version of the aggregate.")]


def read_query(raw: str) -> list[tuple[str, str]]:
    """Return the parameters of a query in their order.

    Raises:
        Problem: it is not UTF-8, or has too many.
    """
    if not raw:
        return []
    try:
        return parse_qsl(
            raw, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except UnicodeDecodeError:
        raise all_invalid([InvalidMember("", "the query is not UTF-8")]) from None
    except ValueError:
        message = f"the query is not name=value, at most {MOST_PARAMETERS} times with & between them"
        raise all_invalid([InvalidMember("", message)]) from None


def read_parameters(
    struct: type[msgspec.Struct], path: Mapping[str, str], query: list[tuple[str, str]]
) -> msgspec.Struct:
    """Return the parameters as the route's type.

    Raises:
        Problem: some are wrong; all of them are named. Or there is no such kind.
    """
    fields = _fields(struct)
    errors: list[InvalidMember] = []
    values: dict[str, Any] = {}
    given: dict[str, list[str]] = {name: [text] for name, text in path.items()}
    for name, text in query:
        if name not in fields or name in path:
            errors.append(InvalidMember(_shown(name), "there is no such parameter"))
        else:
            given.setdefault(name, []).append(text)
    for name, texts in given.items():
        field = fields[name]
        try:
            values[field.name] = _value(field.type, texts)
        except ValueError as error:
            errors.append(InvalidMember(name, str(error)))
    missing = [field for name, field in fields.items() if field.required and name not in given]
    errors += [InvalidMember(field.encode_name, "is required") for field in missing]
    if errors:
        raise all_invalid(errors)
    return struct(**values)


@cache
def _fields(struct: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """Return a type's fields by the names that a caller gives. Finding them takes longer than reading a request."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _value(wanted: Any, texts: list[str]) -> Any:
    base, metas = bare(wanted)
    if typing.get_origin(base) is list:
        (item,) = typing.get_args(base)
        return [_single(item, text) for text in texts]
    if len(texts) > 1:
        raise ValueError("is given more than once")
    for meta in metas:
        if (meta.extra or {}).get("is_kind") and texts[0] not in deciders():
            raise not_found(f"there is no kind {_shown(texts[0])!r}: there are {', '.join(deciders())}")
    return _single(wanted, texts[0])


def _single(wanted: Any, text: str) -> Any:
    base, metas = bare(wanted)
    marks = {name for meta in metas for name in meta.extra or ()}
    if "is_id" in marks:
        problem = id_problem(text)
        if problem is not None:
            raise ValueError(problem)
    if base is datetime:
        return _time(bound_of if "is_bound" in marks else moment_of, text)
    if "is_exact" in marks:
        return _time(exact, text)
    if base is int:
        text = str(_whole_number(text))
    if base is float and not _NUMBER.fullmatch(text):
        raise ValueError("must be a number of seconds, such as 2.5")
    if typing.get_origin(base) is typing.Literal and text not in typing.get_args(base):
        raise ValueError(f"must be {' or '.join(typing.get_args(base))}")
    for meta in metas:
        if meta.pattern is not None and not re.search(meta.pattern, text):
            raise ValueError(f"must be {(meta.description or meta.pattern).removesuffix('.')}")
    try:
        return msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        message = str(error).replace("`str`", "text").replace("`int`", "a whole number").replace("`float`", "a number")
        raise ValueError(message) from None


def _whole_number(text: str) -> int:
    form = _INTEGER.fullmatch(text)
    if form is None:
        raise ValueError("must be a whole number")
    number = min(int(form[2]), GREATEST)
    return -number if form[1] else number


def _time(read: Callable[[str], T], text: str) -> T:
    """Return what is read of an RFC 3339 date-time; ValueError if it is none."""
    problem = issued_at_problem(text)
    if problem is not None:
        raise ValueError(f"{problem}; a + of the offset is written %2B")
    return read(text)


def bare(wanted: Any) -> tuple[Any, list[Meta]]:
    """Return a type without `Annotated` and `| None`, and what it is annotated with."""
    metas: list[Meta] = []
    while True:
        if typing.get_origin(wanted) is Annotated:
            wanted, *found = typing.get_args(wanted)
            metas += [each for each in found if isinstance(each, Meta)]
        elif isinstance(wanted, UnionType) or typing.get_origin(wanted) is typing.Union:
            (wanted,) = [each for each in typing.get_args(wanted) if each is not NoneType]
        else:
            return wanted, metas


def _shown(name: str) -> str:
    """Return a name that a stranger chose, of a length that a message can have."""
    return name if len(name) <= LONGEST_ID else name[:LONGEST_ID] + "…"
