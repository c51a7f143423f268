"""Copies of values of which others hold the same, for code of others that may change what it is given."""

from __future__ import annotations

from copy import copy, deepcopy
from functools import cache
from types import NoneType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import force_setattr

from annals.schemas.values.constraints import is_union, marks_of, type_hints

S = TypeVar("S", bound=Struct)
T = TypeVar("T")

_UNCHANGEABLE: Final = frozenset({str, int, float, bool, NoneType, UnsetType})


def copied(value: T) -> T:
    """Return a value of what members may be with new objects and arrays, and all else in it that can be changed.

    Without recursion, but into structs and tuples, which types alone have: data may nest 512 levels.
    """
    whole: list[Any] = [value]
    rest: list[Any] = [whole]
    while rest:
        container = rest.pop()
        for at, each in container.items() if type(container) is dict else enumerate(container):
            if type(each) is dict or type(each) is list:
                container[at] = each.copy()
                rest.append(container[at])
            elif type(each) not in _UNCHANGEABLE:
                container[at] = _copied_other(each)
    copy_of_it: T = whole[0]
    return copy_of_it


def _copied_other(value: Any) -> Any:
    """Return a copy of what JSON does not have, as a type may."""
    if isinstance(value, Struct):
        return own(value)
    if isinstance(value, tuple):
        return tuple.__new__(type(value), copied(list(value)))
    return deepcopy(value)


def own(struct: S) -> S:
    """Return a message or part for somebody who may change it: a copy, or itself where nothing in it can be changed."""
    names = _changeable(type(struct))
    if not names:  # as most have none, or have not been given them
        return struct
    held = [(name, value) for name in names if (value := getattr(struct, name)) is not UNSET and value is not None]
    if not held:
        return struct
    mine = copy(struct)
    for name, value in held:
        force_setattr(mine, name, copied(value))
    return mine


@cache
def _changeable(struct: type[Struct]) -> tuple[str, ...]:
    """Return the members of a type in which something can be changed, or which can be set."""
    hints = type_hints(struct)
    return tuple(name for name in hints if not struct.__struct_config__.frozen or _can_change(hints[name]))


def _can_change(annotation: Any) -> bool:
    bare, _ = marks_of(annotation)
    if is_union(bare):
        return any(map(_can_change, get_args(bare)))
    if isinstance(bare, type) and issubclass(bare, Struct):
        return bool(_changeable(bare))
    return bare not in _UNCHANGEABLE and get_origin(bare) is not Literal
