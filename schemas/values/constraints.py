"""What a member's type says beside its shape: its rules, how two values compare, and whether it is personal.

The marks are msgspec's `Meta` inside `Annotated`, so that one type serves the parser, JSON Schema and the deciders.
"""

from __future__ import annotations

import types
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, UnsetType

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

PERSONAL: Final = Meta(extra={"personal": True}, extra_json_schema={"x-personal": True})
"""Personal data of its subject: sealed once encryption is on."""

UNORDERED: Final = Meta(extra={"set": True}, extra_json_schema={"uniqueItems": True})
"""A set: a list without doubles, compared without order."""


def checked(check: Callable[[Any], str | None], **schema: Any) -> Meta:
    """A rule that a pattern cannot say. `check` answers None, or what is wrong ("has …", "is no …")."""
    return Meta(extra={"check": check}, extra_json_schema=schema or None)


def at_most(items: int) -> Meta:
    """The most items of a list whose schema names no bound: with more of them a rule always refused the command."""
    return Meta(extra={"most": items})


def compared(key: Callable[[Any], Hashable]) -> Meta:
    """Two values of the type are the same if their keys are: e-mail addresses without case, times as instants."""
    return Meta(extra={"key": key})


def listed(codes: frozenset[str], what: str) -> Meta:
    """A code list; `what` is its name in messages, JSON Schema has the codes."""

    def check(code: str) -> str | None:
        return None if code in codes else f"is not {what}"

    return checked(check, enum=sorted(codes))


def is_union(annotation: Any) -> bool:
    """Whether the annotation is `X | Y`."""
    return get_origin(annotation) in {Union, types.UnionType}


def present(annotation: Any) -> Any:
    """The annotation without None and UNSET: the type of a value that is there."""
    if not is_union(annotation):
        return annotation
    return Union[tuple(arm for arm in get_args(annotation) if arm not in {type(None), UnsetType})]  # noqa: UP007


def takes_null(annotation: Any) -> bool:
    """Whether null is one of the type's values."""
    if get_origin(annotation) is Annotated:
        return takes_null(get_args(annotation)[0])
    return is_union(annotation) and type(None) in get_args(annotation)


@cache
def type_hints(struct: type) -> dict[str, Any]:
    """The members of a struct type with their annotations, marks included, in order."""
    return get_type_hints(struct, include_extras=True)


def marks_of(annotation: Any) -> tuple[Any, list[Meta]]:
    """The bare type of a present value and its marks, the innermost first."""
    annotation = present(annotation)
    if get_origin(annotation) is not Annotated:
        return annotation, []
    outer, *found = get_args(annotation)
    bare, marks = marks_of(outer)
    return bare, marks + [mark for mark in found if isinstance(mark, Meta)]


def extras(annotation: Any, name: str) -> list[Any]:
    """Every mark `name` of an annotation, the innermost first."""
    return [mark.extra[name] for mark in marks_of(annotation)[1] if mark.extra and name in mark.extra]


def key_of(annotation: Any) -> Callable[[Any], Hashable] | None:
    """How values of the type compare; None for by `==`."""
    bare, _ = marks_of(annotation)
    if extras(annotation, "set"):
        item_key = key_of(get_args(bare)[0])
        return frozenset if item_key is None else lambda items: frozenset(map(item_key, items))
    found = extras(annotation, "key")
    return found[-1] if found else None
