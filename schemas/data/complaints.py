"""The slow way of validation: the members of a command's data that offend, each with its path and what is wrong.

Lengths are checked before items, long lists and maps are searched by halves, and whoever asks stops when enough is
found: what an invalid command costs grows neither with the number of its errors nor with what is well beside them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from annals.schemas.data.predicates import breaks_rule, exceeds_bound
from annals.schemas.outcome import LONGEST_PATH
from annals.schemas.values.constraints import extras, key_of, marks_of, takes_null, type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Problem = tuple[str, str]
"""A path (`data.emails[3]`) and what is wrong there."""

_STRETCH: Final = 1_024  # items that are checked at once
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_AT: Final = re.compile(r" - at `.*`\Z", re.DOTALL)


def complaints(annotation: Any, value: Any, path: str) -> Iterator[Problem]:
    """Every problem of a value that should be of the type, members first; of a wrong length, only that."""
    if value is None and takes_null(annotation):
        return
    bare, marks = marks_of(annotation)
    origin = get_origin(bare)
    if origin in {list, dict} and type(value) is origin:
        wrong_length = _length_problem(value, bare, marks)
        if wrong_length is None and (most := extras(annotation, "most")) and len(value) > most[0]:
            wrong_length = f"expected array of length <= {most[0]}"
        if wrong_length is not None:
            yield path, wrong_length
            return
    is_well = True
    for problem in _inner(bare, origin, value, path):
        is_well = False
        yield problem
    if not is_well:
        return
    try:
        whole = msgspec.convert(value, Annotated[bare, *marks] if marks else bare)
    except msgspec.ValidationError as wrong:
        yield path, _message(wrong, bare, marks)
        return
    yield from _of_whole(annotation, whole, path)


def _length_problem(value: Any, bare: Any, marks: list[Meta]) -> str | None:
    """What is wrong with the number of items or entries; none of them is looked at."""
    lengths = [
        Meta(min_length=mark.min_length, max_length=mark.max_length)
        for mark in marks
        if mark.min_length is not None or mark.max_length is not None
    ]
    if not lengths:
        return None
    try:
        msgspec.convert(value, Annotated[get_origin(bare), *lengths])
    except msgspec.ValidationError as wrong:
        return _message(wrong, bare, marks)
    return None


def _inner(bare: Any, origin: Any, value: Any, path: str) -> Iterator[Problem]:
    """The problems of what is inside a value."""
    if isinstance(bare, type) and issubclass(bare, Struct) and type(value) is dict:
        yield from _of_members(bare, value, path)
    elif origin is list and type(value) is list:
        for at in _offending(_is_well(bare), value):
            yield from complaints(get_args(bare)[0], value[at], f"{path}[{at}]")
    elif origin is dict and type(value) is dict and get_args(bare) != (str, Any):
        key, entry = get_args(bare)
        entries = list(value.items())
        for at in _offending(_is_well(bare, dict), entries):
            yield from _of_entry(key, entry, entries[at], path)


def _is_well(annotation: Any, made: Callable[[Any], Any] = list) -> Callable[[Any], bool]:
    """Whether the items or entries of a stretch are all well: at msgspec's speed, and by our rules and bounds."""
    breaks, exceeds = _breaks_rule(annotation), _exceeds_bound(annotation)

    def is_well(stretch: Sequence[Any]) -> bool:
        value = made(stretch)
        if exceeds is not None and exceeds(value):
            return False
        try:
            converted = msgspec.convert(value, annotation)
        except msgspec.ValidationError:
            return False
        return breaks is None or not breaks(converted)

    return is_well


_breaks_rule: Final = cache(breaks_rule)
_exceeds_bound: Final = cache(exceeds_bound)


def _offending(is_well: Callable[[Sequence[Any]], bool], items: list[Any]) -> Iterator[int]:
    """The places of the items that are not well, in order."""
    for start in range(0, len(items), _STRETCH):
        waiting = [(start, min(start + _STRETCH, len(items)))]
        while waiting:
            low, high = waiting.pop()
            if is_well(items[low:high]):
                continue
            if high - low == 1:
                yield low
                continue
            middle = (low + high) // 2
            waiting += (middle, high), (low, middle)


def _of_members(struct: type[Struct], data: dict[str, Any], path: str) -> Iterator[Problem]:
    annotations = type_hints(struct)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in data:
            yield from complaints(annotations[field.name], data[name], f"{path}.{name}")
        elif field.required:
            yield f"{path}.{name}", "is required"
    for name in (given for given in data if given not in fields):
        yield below(path, name), f"is not a member here; the members are {', '.join(fields) or 'none'}"


def _of_entry(key: Any, entry: Any, given: tuple[str, Any], path: str) -> Iterator[Problem]:
    name, value = given
    at = below(path, name)
    yield from ((at, f"its name {message}") for _, message in complaints(key, name, at))
    yield from complaints(entry, value, at)


def _of_whole(annotation: Any, whole: Any, path: str) -> Iterator[Problem]:
    """Against the rules that msgspec does not know; `whole` has its type."""
    for check in extras(annotation, "check"):
        if (wrong := check(whole)) is not None:
            yield path, wrong
    if extras(annotation, "set"):
        item_key = key_of(get_args(marks_of(annotation)[0])[0])
        first: dict[Any, int] = {}
        for at, item in enumerate(whole):
            before = first.setdefault(item if item_key is None else item_key(item), at)
            if before != at:
                yield f"{path}[{at}]", f"is in the list already, at [{before}]"
    if isinstance(whole, Struct) and hasattr(whole, "problems"):
        yield from ((f"{path}.{name}", message) for name, message in whole.problems())


def below(path: str, name: str) -> str:
    """The path of a member, quoted where its name would not read as one; no longer than is told."""
    shown = name[:LONGEST_PATH]
    return (f"{path}.{shown}" if _PLAIN.fullmatch(shown) else f"{path}[{json.dumps(shown, ensure_ascii=False)}]")[
        :LONGEST_PATH
    ]


def _message(wrong: msgspec.ValidationError, bare: Any, marks: list[Meta]) -> str:
    """What a type's own description says, else msgspec's words. Never the value: it may be personal."""
    said = [mark.description for mark in marks if mark.description]
    if said:
        return f"must be {said[-1]}"
    if get_origin(bare) is Literal:
        return f"must be one of {', '.join(map(str, get_args(bare)))}"
    text = _AT.sub("", str(wrong)).replace("`", "")
    return text[:1].lower() + text[1:]
