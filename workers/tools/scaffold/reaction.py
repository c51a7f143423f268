"""A new reaction: its process manager, its test and its registry line."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from annals.agents.reactions.reaction import NAME as REACTION_NAME
from annals.agents.registered import reactions
from annals.workers.tools.scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    from annals.workers.tools.scaffold.tree import Tree

NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
REGISTRY: Final = "agents/reactions/__init__.py"
FILES: Final = {
    "reaction.txt": "agents/reactions/{module}.py",
    "reaction_test.txt": "tests/unit/agents/reactions/test_{module}.py",
}
TAKEN: Final = frozenset({"reaction", "registry", "type-checking", "created", "thirty-days-s"})
"""The module that all reactions share, and what the templates and the registry call by a name already."""


def new_reaction(tree: Tree, name: str) -> None:
    """Write it.

    Raises:
        ScaffoldError: the name is none, or taken; the checkout's tools fail.
    """
    module = name.replace("-", "_")
    is_name = NAME.fullmatch(name) and REACTION_NAME.fullmatch(name)
    if not is_name or keyword.iskeyword(module) or name in TAKEN:
        raise ScaffoldError(
            f"{name!r} is no name of a reaction: 1 to 63 of a-z and 0-9, with a - between words, no word of the code"
        )
    if name in reactions():
        raise ScaffoldError(f"there is a reaction {name!r} already: choose another name")
    for file in FILES.values():
        tree.refuse_taken(file.format(module=module))
    for template, file in FILES.items():
        tree.create(file.format(module=module), _written(template, name, module))
    text = tree.read(REGISTRY)
    last = re.findall(r"^from annals\.agents\.reactions\.\w+ import \w+$", text, re.MULTILINE)[-1]
    text = text.replace(last, f"{last}\nfrom annals.agents.reactions.{module} import {module.upper()}")
    head, opened, entries = text.partition("] = {\n")
    entries = entries.replace("\n}", f'\n    "{name}": {module.upper()},\n}}', 1)
    tree.change(REGISTRY, head + opened + entries)
    tree.tidy()


def _written(template: str, name: str, module: str) -> str:
    camel = "".join(word.capitalize() for word in module.split("_"))
    words = {"NAME": module.upper(), "Name": camel, "name": name, "module": module}
    text = resources.files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
    return re.sub(r"<(name|Name|NAME|module)>", lambda found: words[found[1]], text)
