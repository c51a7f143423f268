"""What the marks of a type say and msgspec does not know, each as one predicate over a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

from msgspec import UNSET, Struct
from msgspec.structs import fields

from annals.schemas.values.constraints import extras, key_of, marks_of, type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Predicate = Callable[[Any], object]  # true of a value that breaks a rule; a check's own answer will do


def breaks_rule(annotation: Any) -> Predicate | None:
    """Return what tells whether a converted value breaks a rule of its type; None if the type has no rules."""
    found = list(_predicates(annotation))
    if not found:
        return None
    if len(found) == 1:
        return found[0]

    def breaks_any(value: Any) -> object:
        for predicate in found:  # noqa: SIM110 -- half the time of any() and a generator
            if predicate(value):
                return True
        return False

    return breaks_any


def _predicates(annotation: Any) -> Iterator[Predicate]:
    bare, _ = marks_of(annotation)
    if isinstance(bare, type) and issubclass(bare, Struct):
        yield from _of_struct(bare)
    elif get_origin(bare) is list and (of_item := breaks_rule(get_args(bare)[0])) is not None:
        yield _of_any(of_item)
    elif get_origin(bare) is dict:
        of_name, of_entry = map(breaks_rule, get_args(bare))
        if of_name is not None:
            yield _of_any(of_name)
        if of_entry is not None:
            each = _of_any(of_entry)
            yield lambda entries: each(entries.values())
    if extras(annotation, "set"):
        item_key = key_of(get_args(bare)[0]) or (lambda item: item)
        yield lambda items: len(set(map(item_key, items))) != len(items)
    yield from extras(annotation, "check")


def exceeds_bound(annotation: Any) -> Predicate | None:
    """Return what tells whether in a value as it was sent a list is longer than its mark says; None if none has one."""
    bare, _ = marks_of(annotation)
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _exceeds_in_struct(bare)
    if get_origin(bare) is dict and (of_entry := exceeds_bound(get_args(bare)[1])) is not None:
        return lambda value: type(value) is dict and any(map(of_entry, value.values()))
    most = extras(annotation, "most")
    if get_origin(bare) is list and (of_item := exceeds_bound(get_args(bare)[0])) is not None:
        return lambda value: type(value) is list and (bool(most and len(value) > most[0]) or any(map(of_item, value)))
    if most:
        return lambda value: type(value) is list and len(value) > most[0]
    return None


def _exceeds_in_struct(struct: type[Struct]) -> Predicate | None:
    annotations = type_hints(struct)
    members = [
        (field.encode_name, predicate)
        for field in fields(struct)
        if (predicate := exceeds_bound(annotations[field.name])) is not None
    ]
    if not members:
        return None
    return lambda value: (
        type(value) is dict and any(name in value and predicate(value[name]) for name, predicate in members)
    )


def _of_any(predicate: Predicate) -> Predicate:
    return lambda items: any(map(predicate, items))


def _of_struct(struct: type[Struct]) -> Iterator[Predicate]:
    members = [
        (name, predicate)
        for name, annotation in type_hints(struct).items()
        if (predicate := breaks_rule(annotation)) is not None
    ]
    if members:

        def breaks(value: Any) -> object:
            for name, predicate in members:
                member = getattr(value, name)
                if member is not UNSET and member is not None and predicate(member):
                    return True
            return False

        yield breaks
    if hasattr(struct, "problems"):
        yield lambda value: next(iter(value.problems()), None) is not None
