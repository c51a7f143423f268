"""From a command's data to its type: fast when all is well, and when not, naming every member that offends.

The fast way is `msgspec.convert` plus the rules that msgspec does not know (marks `check` and `set`, methods
`problems`). The slow way (`annals.schemas.data.complaints`) is gone only when the fast one says no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct

from annals.schemas.data.complaints import Problem, complaints
from annals.schemas.values.constraints import extras, hints, key_of, marks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[Any], object]  # true of a value that breaks it; a check's own answer will do

T = TypeVar("T", bound=Struct)


class Validator(Generic[T]):
    """Parses data into one struct type.

    A struct may have a method `problems()` that yields (member, message) for rules over several of its members; it is
    asked when every member is well by itself. The member may be a path inside (`parameters.question`).
    """

    __slots__ = ("_breaks", "_type")

    def __init__(self, struct: type[T]) -> None:
        self._type = struct
        self._breaks = _rule(struct)

    def parse(self, data: dict[str, Any], path: str = "data") -> T | list[Problem]:
        """The typed value, or every offending member: unknown, missing, of the wrong type, against a rule."""
        try:
            value = msgspec.convert(data, self._type)
        except msgspec.ValidationError:
            return list(complaints(self._type, data, path))
        if self._breaks is None or not self._breaks(value):
            return value
        return list(complaints(self._type, data, path))


def _rule(annotation: Any) -> Rule | None:
    """What finds a converted value against the rules that msgspec does not know; None if its type has none."""
    found = list(_rules(annotation))
    if not found:
        return None
    if len(found) == 1:
        return found[0]

    def breaks_any(value: Any) -> object:
        for rule in found:  # noqa: SIM110 -- half the time of any() and a generator
            if rule(value):
                return True
        return False

    return breaks_any


def _rules(annotation: Any) -> Iterator[Rule]:
    bare, _ = marks_of(annotation)
    if isinstance(bare, type) and issubclass(bare, Struct):
        yield from _struct_rules(bare)
    elif get_origin(bare) is list and (of_item := _rule(get_args(bare)[0])) is not None:
        yield _of_any(of_item)
    elif get_origin(bare) is dict:
        of_name, of_entry = map(_rule, get_args(bare))
        if of_name is not None:
            yield _of_any(of_name)
        if of_entry is not None:
            each = _of_any(of_entry)
            yield lambda entries: each(entries.values())
    if extras(annotation, "set"):
        item_key = key_of(get_args(bare)[0]) or (lambda item: item)
        yield lambda items: len(set(map(item_key, items))) != len(items)
    yield from extras(annotation, "check")


def _of_any(rule: Rule) -> Rule:
    return lambda items: any(map(rule, items))


def _struct_rules(struct: type[Struct]) -> Iterator[Rule]:
    members = [(name, rule) for name, annotation in hints(struct).items() if (rule := _rule(annotation)) is not None]
    if members:

        def breaks(value: Any) -> object:
            for name, rule in members:
                member = getattr(value, name)
                if member is not UNSET and member is not None and rule(member):
                    return True
            return False

        yield breaks
    if hasattr(struct, "problems"):
        yield lambda value: next(iter(value.problems()), None) is not None
