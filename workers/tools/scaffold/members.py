"""A message type's members as source text, with all that it inherits, and where the names in it come from."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from annals.schemas.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def members(message: type[Message]) -> list[str]:
    """One line for each member, those that are required first."""
    annotations: dict[str, str] = {}
    for each in reversed(message.__mro__):
        if issubclass(each, Message) and each is not Message:
            annotations |= inspect.get_annotations(each)
    fields = sorted(msgspec.structs.fields(message), key=lambda field: not field.required)
    return [f"    {field.name}: {annotations[field.name]}{_default(field)}" for field in fields]


def _default(field: Any) -> str:
    is_renamed = field.encode_name != field.name
    if field.required:
        return f' = msgspec.field(name="{field.encode_name}")' if is_renamed else ""
    value = "UNSET" if field.default is msgspec.UNSET else repr(field.default)
    if not is_renamed:
        return f" = {value}"
    return f' = msgspec.field(name="{field.encode_name}", default={value})'


def imports(message: type[Message], lines: list[str]) -> list[str]:
    """An import for every name in the lines that is none of the language's."""
    module = sys.modules[message.__module__]
    origins = dict(_origins(module))
    words = {word for line in lines for word in _names(line.strip())}
    found = [f"from {origins[word]} import {word}" for word in sorted(words) if word in origins]
    return [*found, "import msgspec"] if "msgspec" in words else found


def _names(line: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(line)):
        if isinstance(node, ast.Name):
            yield node.id


def _origins(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Each name of a module, and the module that it is to be imported from."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.name, node.module) for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from ((each.id, module.__name__) for each in node.targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.ClassDef):
            yield node.name, module.__name__
