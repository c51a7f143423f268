"""Which rules may refuse a command, and in which words: read from the source of the aggregate's `decide`.

A rule stands where it is broken, as `raise Refused("rule", "message")` in the command's case or in a function of
`agents` that the case calls; this follows the calls and puts their arguments in.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Rules = dict[str, str]


def rules_of(kind: str) -> dict[str, Rules]:
    """Return the rules of each command of a kind, in the order of the source, with their messages."""
    module = importlib.import_module(f"annals.agents.aggregates.{kind}")
    found: dict[str, Rules] = {}
    for case in (node for node in ast.walk(_definition(module.decide)) if isinstance(node, ast.match_case)):
        rules = dict(_raised(case.body, module, {}, 0))
        for command in _commands(case.pattern):
            found.setdefault(command, {}).update(rules)
    return found


def _commands(pattern: ast.pattern) -> Iterator[str]:
    for node in ast.walk(pattern):
        if isinstance(node, ast.MatchClass):
            yield ast.unparse(node.cls).rsplit(".", 1)[-1]


def _definition(function: FunctionType) -> ast.FunctionDef:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)  # noqa: S101
    return node


def _raised(
    body: Sequence[ast.stmt], module: ModuleType, known: Mapping[str, str], depth: int
) -> Iterator[tuple[str, str]]:
    calls = [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        if not isinstance(call.func, ast.Name):
            continue
        if call.func.id == "Refused":
            yield _text(call.args[0], module, known), _text(call.args[1], module, known)
            continue
        function = getattr(module, call.func.id, None)
        if isinstance(function, FunctionType) and function.__module__.startswith("agents.") and depth < 5:
            definition = _definition(function)
            given = [_text(argument, module, known) for argument in call.args]
            names = [argument.arg for argument in definition.args.args]
            bound = dict(zip(names, given, strict=False))
            bound |= {word.arg: _text(word.value, module, known) for word in call.keywords if word.arg}
            yield from _raised(definition.body, inspect.getmodule(function) or module, bound, depth + 1)


def _text(node: ast.expr, module: ModuleType, known: Mapping[str, str]) -> str:
    """What is known of a text before it runs; the rest in braces."""
    if isinstance(node, ast.Constant):
        return _number(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, module, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, module, known)
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    value = _value(node, module)
    if isinstance(value, str | int):
        return _number(value)
    names: list[str] = re.findall(r"[A-Za-z_]+", ast.unparse(node))
    # What came with an exception has no name that would tell a reader anything.
    return "…" if names[-1] == "args" else "{" + names[-1].lower() + "}"


def _value(node: ast.expr, module: ModuleType) -> Any:
    """What a name, or a name of a module, stands for; None when that is not known before it runs."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = getattr(module, node.value.id, None)
        return getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
    return None


def _number(value: object) -> str:
    return f"{value:,}" if type(value) is int else str(value)
