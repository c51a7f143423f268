"""Parameters of the path and the query, read strictly by the type of the route: each is known, right and given once.

A struct's field is a parameter; a list may be given several times. `Kind` is 404 where there is no such kind.
"""

from __future__ import annotations

import re
import typing
from datetime import datetime
from functools import cache, partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from annals.schemas.values.ids import LONGEST_ID, id_problem
from annals.schemas.values.moments import bound_of, exact, issued_at_problem, moment_of
from annals.workers.api.http.problems import InvalidMember, all_invalid, not_found
from annals.workers.registry import unknown_kind

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
Since = Annotated[datetime, Meta(description="This RFC 3339 date-time or later.", extra={"is_bound": True})]
Until = Annotated[datetime, Meta(description="Before this RFC 3339 date-time.", extra={"is_bound": True})]
ExactMoment = Annotated[
    str,
    Meta(description="An RFC 3339 date-time.", extra={"is_exact": True}, extra_json_schema={"format": "date-time"}),
]
Limit = Annotated[int, Meta(ge=1, le=1000, description="At most so many.")]
Wait = Annotated[float, Meta(ge=0, le=60, description="Seconds to wait.")]
Version = Annotated[int, Meta(ge=1, description="A version of the aggregate.")]
CursorText = Annotated[str, Meta(description="Where a page before this one ended.")]
TypeName = Annotated[Id, Meta(description="Of this type.")]
Reason = Annotated[Id, Meta(description="For this reason.")]
Status = Annotated[Id, Meta(description="In this status.")]
Order = Annotated[Literal["asc", "desc"], Meta(description="`desc`: the newest first.")]


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
            errors.append(InvalidMember(shown(name), "there is no such parameter"))
        else:
            given.setdefault(name, []).append(text)
    for name, texts in given.items():
        field = fields[name]
        try:
            values[field.name] = field.read(texts)
        except ValueError as error:
            errors.append(InvalidMember(name, str(error)))
    missing = [name for name, field in fields.items() if field.is_required and name not in given]
    errors += [InvalidMember(name, "is required") for name in missing]
    if errors:
        raise all_invalid(errors)
    return struct(**values)


class _Field(NamedTuple):
    """A parameter: the struct's field, and what reads the texts that are given for it."""

    name: str
    is_required: bool
    read: Callable[[list[str]], Any]


@cache
def _fields(struct: type[msgspec.Struct]) -> Mapping[str, _Field]:
    """Return a type's fields by the names that a caller gives. To look at its types takes longer than to read them."""
    return {
        field.encode_name: _Field(field.name, field.required, _reader(field.type))
        for field in msgspec.structs.fields(struct)
    }


def _reader(wanted: Any) -> Callable[[list[str]], Any]:
    """Return what reads the texts of a parameter; it raises ValueError."""
    base, _ = bare(wanted)
    if typing.get_origin(base) is list:
        (item,) = typing.get_args(base)
        read_item = _single_reader(item)
        return lambda texts: [read_item(text) for text in texts]
    read_single = _single_reader(wanted)

    def read(texts: list[str]) -> Any:
        if len(texts) > 1:
            raise ValueError("is given more than once")
        return read_single(texts[0])

    return read


def _single_reader(wanted: Any) -> Callable[[str], Any]:
    base, metas = bare(wanted)
    marks = _marks(metas)
    if base is datetime:
        return partial(_time, bound_of if "is_bound" in marks else moment_of)
    if "is_exact" in marks:
        return partial(_time, exact)
    if "is_id" in marks:
        return _id
    if "is_kind" in marks:
        return _kind
    words = typing.get_args(base) if typing.get_origin(base) is typing.Literal else ()
    patterns = [(re.compile(each.pattern), each.description or each.pattern) for each in metas if each.pattern]

    def read(text: str) -> Any:
        if base is int:
            text = str(_whole_number(text))
        if base is float and not _NUMBER.fullmatch(text):
            raise ValueError("must be a number of seconds, such as 2.5")
        if words and text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        for pattern, meaning in patterns:
            if not pattern.search(text):
                raise ValueError(f"must be {meaning.removesuffix('.')}")
        try:
            return msgspec.convert(text, wanted, strict=False)
        except msgspec.ValidationError as error:
            message = str(error).replace("`str`", "text")
            message = message.replace("`int`", "a whole number").replace("`float`", "a number")
            raise ValueError(message) from None

    return read


def _id(text: str) -> str:
    problem = id_problem(text)
    if problem is not None:
        raise ValueError(problem)
    return text


def _kind(text: str) -> str:
    unknown = unknown_kind(shown(text))
    if unknown is not None:
        raise not_found(unknown)
    return text


def _marks(metas: list[Meta]) -> set[str]:
    return {name for meta in metas for name in meta.extra or ()}


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
        is_unescaped = issued_at_problem(text.replace(" ", "+")) is None  # a + in a URL means a space
        raise ValueError(f"{problem}; in a URL a + is written %2B" if is_unescaped else problem)
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


def shown(name: str) -> str:
    """Return a name that a stranger chose, of a length that a message can have."""
    return name if len(name) <= LONGEST_ID else name[:LONGEST_ID] + "…"
