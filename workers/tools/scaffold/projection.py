"""A new projection: its fold, its test and its registry line."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from annals.workers.tools.scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    from annals.workers.tools.scaffold.tree import Tree

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,61}[a-z0-9]", re.ASCII)
REGISTRY: Final = "agents/projections/__init__.py"
FILES: Final = {
    "projection.txt": "agents/projections/{name}.py",
    "projection_test.txt": "tests/unit/agents/projections/test_{name}.py",
}
TAKEN: Final = frozenset({"projection", "questions", "registry", "final", "row", "type_checking"})


def new_projection(tree: Tree, name: str) -> None:
    """Write it, and make the reference again.

    Raises:
        ScaffoldError: the name is none, or taken; the checkout's tools fail.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in TAKEN:
        raise ScaffoldError(f"{name!r} is no name of a projection: 2 to 63 of a-z, 0-9 and _, no word of the code")
    for file in FILES.values():
        tree.refuse_taken(file.format(name=name))
    for template, file in FILES.items():
        tree.create(file.format(name=name), _written(template, name))
    text = tree.read(REGISTRY)
    last = re.findall(r"^from annals\.agents\.projections\.\w+ import \w+$", text, re.MULTILINE)[-1]
    text = text.replace(last, f"{last}\nfrom annals.agents.projections.{name} import {name.upper()}")
    head, opened, entries = text.partition("] = {\n")
    entries = entries.replace("\n}", f'\n    "{name}": {name.upper()},\n}}', 1)
    tree.change(REGISTRY, head + opened + entries)
    tree.tidy()
    tree.run("docs/generate.py")


def _written(template: str, name: str) -> str:
    words = {"NAME": name.upper(), "Name": "".join(word.capitalize() for word in name.split("_")), "name": name}
    text = resources.files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
    return re.sub(r"<(name|Name|NAME)>", lambda found: words[found[1]], text)
