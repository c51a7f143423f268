"""The slow way of validation: every member of a command's data that offends, with its path and what is wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from annals.schemas.values.constraints import extras, hints, key_of, marks_of, takes_null

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec import Meta

Problem = tuple[str, str]
"""A path (`data.emails[3]`) and what is wrong there."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_AT: Final = re.compile(r" - at `.*`\Z", re.DOTALL)


def complaints(annotation: Any, value: Any, path: str) -> Iterator[Problem]:
    """Every problem of a value that should be of the type, members first."""
    if value is None and takes_null(annotation):
        return
    bare, marks = marks_of(annotation)
    origin = get_origin(bare)
    inner: list[Problem] = []
    if isinstance(bare, type) and issubclass(bare, Struct) and type(value) is dict:
        inner = list(_of_members(bare, value, path))
    elif origin is list and type(value) is list:
        inner = [p for at, item in enumerate(value) for p in complaints(get_args(bare)[0], item, f"{path}[{at}]")]
    elif origin is dict and type(value) is dict:
        inner = list(_of_entries(get_args(bare)[0], get_args(bare)[1], value, path))
    yield from inner
    # With something wrong inside, only the size of the whole can still be judged.
    whole_type = bare if not inner else origin
    if whole_type is None:
        return
    try:
        whole = msgspec.convert(value, Annotated[whole_type, *marks] if marks else whole_type)
    except msgspec.ValidationError as wrong:
        yield path, _message(wrong, bare, marks)
        return
    if not inner:
        yield from _of_whole(annotation, whole, path)


def _of_members(struct: type[Struct], data: dict[str, Any], path: str) -> Iterator[Problem]:
    annotations = hints(struct)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in data:
            yield from complaints(annotations[field.name], data[name], f"{path}.{name}")
        elif field.required:
            yield f"{path}.{name}", "is required"
    for name in (given for given in data if given not in fields):
        yield below(path, name), f"is not a member here; the members are {', '.join(fields) or 'none'}"


def _of_entries(key: Any, entry: Any, data: dict[str, Any], path: str) -> Iterator[Problem]:
    for name, value in data.items():
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
    """The path of a member, quoted where its name would not read as one."""
    return f"{path}.{name}" if _PLAIN.fullmatch(name) else f"{path}[{json.dumps(name, ensure_ascii=False)}]"


def _message(wrong: msgspec.ValidationError, bare: Any, marks: list[Meta]) -> str:
    """What a type's own description says, else msgspec's words. Never the value: it may be personal."""
    said = [mark.description for mark in marks if mark.description]
    if said:
        return f"must be {said[-1]}"
    if get_origin(bare) is Literal:
        return f"must be one of {', '.join(map(str, get_args(bare)))}"
    text = _AT.sub("", str(wrong)).replace("`", "")
    return text[:1].lower() + text[1:]
