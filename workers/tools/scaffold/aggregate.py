"""A new aggregate: its messages, its decider, its test and its registry line; registered, renamed, archived."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from annals.schemas.json_schemas.wire_schemas import WIRE
from annals.workers.tools.scaffold.errors import ScaffoldError
from annals.workers.tools.scaffold.tree import REGISTRY

if TYPE_CHECKING:
    from annals.workers.tools.scaffold.tree import Tree

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}[a-z0-9]", re.ASCII)
FILES: Final = {
    "messages.txt": "schemas/kinds/{kind}.py",
    "aggregate.txt": "agents/aggregates/{kind}.py",
    "test.txt": "tests/unit/agents/aggregates/test_{kind}.py",
}


def new_aggregate(tree: Tree, kind: str) -> None:
    """Write it, freeze its first form, and make the reference again.

    Raises:
        ScaffoldError: the name is none, or taken; the checkout's tools fail.
    """
    if not NAME.fullmatch(kind) or keyword.iskeyword(kind):
        raise ScaffoldError(f"{kind!r} is no name of a kind: 2 to 32 of a-z, 0-9 and _, no word of Python's")
    if not _taken().isdisjoint({kind, _camel(kind), kind.upper()}):
        raise ScaffoldError(f"{kind!r} is a word of the code around an aggregate: choose another name")
    for name in FILES.values():
        tree.refuse_taken(name.format(kind=kind))
    for template, name in FILES.items():
        tree.create(name.format(kind=kind), _written(template, kind))
    _register(tree, kind)
    tree.tidy()
    tree.run("tests/golden/states.py")
    tree.run("tests/golden/events.py")
    tree.run("-c", "from annals.workers.cli import main; main(['schemas', 'export', 'schemas/json'])")
    tree.run("docs/generate.py")


def _register(tree: Tree, kind: str) -> None:
    """The registry's line, and its import."""
    text = tree.read(REGISTRY)
    last = re.findall(r"^from annals\.agents\.aggregates\.\w+ import \w+$", text, re.MULTILINE)[-1]
    text = text.replace(last, f"{last}\nfrom annals.agents.aggregates.{kind} import {kind.upper()}")
    head, opened, entries = text.partition("] = {\n")
    entries = entries.replace("\n}", f'\n    "{kind}": {kind.upper()},\n}}', 1)
    tree.change(REGISTRY, head + opened + entries)


def _written(template: str, kind: str) -> str:
    """A template's text for a kind."""
    words = {"KIND": kind.upper(), "Kind": _camel(kind), "kind": kind}
    text = resources.files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
    return re.sub(r"<(kind|Kind|KIND)>", lambda found: words[found[1]], text)


def _taken() -> set[str]:
    """What the templates call by a name already, what is Python's own, and what stands for no kind in URNs."""
    names = {WIRE, *dir(builtins)}
    for template in FILES:
        for node in ast.walk(ast.parse(_written(template, "placeholder"))):
            match node:
                case ast.Name(id=name) | ast.arg(arg=name) | ast.alias(name=name, asname=None) | ast.alias(asname=name):
                    names.add(str(name))
                case _:
                    pass
    return names


def _camel(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))
