"""Values that belong to whoever holds them: code of others may change what it is given, and others hold the same."""

from __future__ import annotations

from types import NoneType
from typing import Any, Final, TypeVar

from msgspec import Struct, UnsetType
from msgspec.structs import astuple

T = TypeVar("T")

UNCHANGEABLE: Final = frozenset({str, int, float, bool, NoneType, UnsetType})


def copied(value: T) -> T:
    """Return a value of JSON types with new objects and arrays, without recursion: they may nest 512 levels."""
    whole: list[Any] = [value]
    rest: list[Any] = [whole]
    while rest:
        container = rest.pop()
        for at, each in container.items() if type(container) is dict else enumerate(container):
            if type(each) is dict or type(each) is list:
                container[at] = each.copy()
                rest.append(container[at])
    copy: T = whole[0]
    return copy


def is_unchangeable(struct: Struct) -> bool:
    """Whether nobody who holds a message or part can change anything in it: it has neither lists nor maps."""
    for value in astuple(struct):
        if type(value) not in UNCHANGEABLE and not (isinstance(value, Struct) and is_unchangeable(value)):
            return False
    return struct.__struct_config__.frozen
