"""A new aggregate: its messages, its decider, its test and its registry line; registered, renamed, archived."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from workers.cli.failures import CannotAskError
from workers.scaffold.tree import REGISTRY

if TYPE_CHECKING:
    from workers.scaffold.tree import Tree

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}[a-z0-9]", re.ASCII)
FILES: Final = {
    "messages.txt": "schemas/{kind}.py",
    "aggregate.txt": "agents/aggregates/{kind}.py",
    "test.txt": "tests/unit/test_{kind}.py",
}


def new_aggregate(tree: Tree, kind: str) -> None:
    """Write it, freeze its first form, and make the reference again.

    Raises:
        CannotAskError: the name is none, or taken; the checkout's tools fail.
    """
    if not NAME.fullmatch(kind) or keyword.iskeyword(kind):
        raise CannotAskError(f"{kind!r} is no name of a kind: 2 to 32 of a-z, 0-9 and _, no word of Python's")
    for name in FILES.values():
        if tree.path(name.format(kind=kind)).exists():
            raise CannotAskError(f"{name.format(kind=kind)} is there already: choose another name")
    words = {"KIND": kind.upper(), "Kind": _camel(kind), "kind": kind}
    for template, name in FILES.items():
        text = resources.files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
        tree.create(name.format(kind=kind), re.sub(r"<(kind|Kind|KIND)>", lambda found: words[found[1]], text))
    _register(tree, kind)
    tree.tidy()
    tree.run("tests/golden/states.py")
    tree.run("tests/golden/events.py")
    tree.run("-c", "from workers.cli import main; main(['schemas', 'export', 'schemas/json'])")
    tree.run("docs/generate.py")


def _register(tree: Tree, kind: str) -> None:
    """The registry's line, and its import."""
    text = tree.read(REGISTRY)
    last = re.findall(r"^from agents\.aggregates\.\w+ import \w+$", text, re.MULTILINE)[-1]
    text = text.replace(last, f"{last}\nfrom agents.aggregates.{kind} import {kind.upper()}")
    head, opened, entries = text.partition("] = {\n")
    entries = entries.replace("\n}", f'\n    "{kind}": {kind.upper()},\n}}', 1)
    tree.change(REGISTRY, head + opened + entries)


def _camel(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))
