"""Names and meanings of members' types: the aliases of `annals.schemas.values.fields`, found again in annotations."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from msgspec import Meta, Struct

from annals.schemas.values import fields
from annals.schemas.values.constraints import extras, is_union, marks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# As `annals.schemas.values.fields.object_within` calls what its check is closed over.
LIMIT = "limit_bytes"
PLAIN = {str: "text", bool: "bool", int: "integer", float: "number", type(None): "null"}
NUMBERS = {frozenset({int, float}): "number"}


def _object_limits(annotation: Any) -> Iterator[int]:
    for check in extras(annotation, "check"):
        known = inspect.getclosurevars(check).nonlocals
        if LIMIT in known:
            yield known[LIMIT]


def _range(marks: list[Meta]) -> list[str]:
    limits = [f"from {mark.ge}" for mark in marks if mark.ge is not None]
    return limits + [f"to {mark.le}" for mark in marks if mark.le is not None]


class TypeNames:
    """Names types, and remembers those that the page has to explain."""

    def __init__(self) -> None:
        """Begin with nothing to explain."""
        self.described: dict[str, str] = {}
        self.structs: dict[str, type[Struct]] = {}
        self._aliases = [
            (name, marks_of(alias)) for name, alias in vars(fields).items() if name[0].isupper() and marks_of(alias)[1]
        ]

    def name(self, annotation: Any) -> str:
        """Return what the page calls the type."""
        bare, marks = marks_of(annotation)
        if alias := self._alias(bare, marks):
            return alias
        text = self._bare(bare)
        limits = [f"at most {mark.max_length:,}" for mark in marks if mark.max_length]
        limits += [f"at least {mark.min_length:,}" for mark in marks if mark.min_length]
        limits += _range(marks)
        limits += [f"at most {limit:,} bytes as DAG-CBOR" for limit in _object_limits(annotation)]
        if extras(annotation, "set"):
            text = text.replace("list of", "set of", 1)
        return f"{text} ({', '.join(limits)})" if limits else text

    def _alias(self, bare: Any, marks: list[Meta]) -> str | None:
        """The alias with the most marks that are all in the annotation: the most special one."""
        given = {id(mark) for mark in marks}
        found = [
            (len(of[1]), name, of[1])
            for name, of in self._aliases
            if of[0] == bare and all(id(mark) in given for mark in of[1])
        ]
        if not found:
            return None
        _, name, own = max(found, key=lambda each: each[0])
        said = [mark.description for mark in own if mark.description]
        lists = [
            mark.extra_json_schema["enum"]
            for mark in own
            if mark.extra_json_schema and "enum" in mark.extra_json_schema
        ]
        codes = f"one of {len(lists[0])} codes" if lists else ""
        self.described[name] = said[-1] if said else codes
        return name

    def _bare(self, bare: Any) -> str:
        origin = get_origin(bare)
        if isinstance(bare, type) and issubclass(bare, Struct):
            self.structs[bare.__name__] = bare
            return bare.__name__
        if origin is list:
            return f"list of {self.name(get_args(bare)[0])}"
        if origin is dict:
            key, value = get_args(bare)
            if value is Any:
                return "object"
            return f"{self.name(key)} → {self.name(value)}"
        if origin is Literal:
            return ", ".join(str(value) for value in get_args(bare))
        if is_union(bare):
            arms = get_args(bare)
            bares = frozenset(marks_of(arm)[0] for arm in arms)
            number = NUMBERS.get(bares)
            if number is None:
                return " or ".join(self.name(arm) for arm in arms)
            limits = _range(marks_of(arms[0])[1])
            return f"{number} ({', '.join(limits)})" if limits else number
        return PLAIN.get(bare, "an object" if bare is Any else getattr(bare, "__name__", str(bare)))
