"""docs/reference/python-api.md, from the source of the modules that other programs may import."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from generator.markdown import code, fenced, first_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parents[2] / "src"
# In the order in which somebody needs them. What is not here is the project's own affair.
MODULES = (
    "annals.schemas.kinds",
    "annals.schemas.cid",
    "annals.schemas.canonical",
    "annals.schemas.chain",
    "annals.schemas.journal_reader",
    "annals.schemas.envelope",
    "annals.schemas.commands",
    "annals.schemas.messages",
    "annals.schemas.values.constraints",
    "annals.schemas.values.refs",
    "annals.schemas.data.upcast",
    "annals.schemas.wire.reading",
    "annals.schemas.outcome",
    "annals.schemas.snapshot",
    "annals.topics.names",
    "annals.topics.keys",
    "annals.topics.headers",
    "annals.topics.spec",
    "annals.topics.catalog",
    "annals.agents.deciding.decider",
    "annals.agents.deciding.machine",
    "annals.agents.deciding.refusals",
    "annals.agents.deciding.rules",
    "annals.agents.deciding.state",
    "annals.agents.deciding.comparison",
    "annals.agents.projections.projection",
    "annals.agents.reactions.reaction",
    "annals.agents.testing.specification",
    "annals.agents.testing.projections",
    "annals.agents.testing.reactions",
    "annals.agents.testing.workbench",
    "annals.agents.testing.strategies",
    "annals.agents.testing.histories",
    "annals.agents.testing.laws",
    "annals.agents.testing.suite",
    "annals.agents.testing.projection_suite",
    "annals.agents.testing.reaction_suite",
    "annals.workers.testing.deployment",
    "annals.workers.testing.clock",
    "annals.workers.testing.stores",
    "annals.workers.memory.cluster",
    "annals.workers.stores.memory",
    "annals.workers.stores.reading_memory",
    "annals.workers.testing.source",
    "annals.workers.testing.telemetry",
    "annals.client",
)
HANDED_ON = ("annals.client",)
PLUMBING = frozenset({"__future__", "typing", "annals._lazy"})
INTRO = """# Python

What a program beside the worker may import: to write its own reader, to send commands, to add an aggregate, a
projection or a reaction. The names that are used most are in `annals`, those of producers and consumers in
`annals.client`, those that test aggregates, projections and reactions in `annals.testing`; the commands and events of
each [kind](commands.md) are in `annals.schemas.kinds.<kind>`. Below, each name is said where it is defined. Everything
else is internal.
"""


def page() -> str:
    """Return the page."""
    parts = [INTRO, " · ".join(f"[{name}](#{name.replace('.', '')})" for name in MODULES) + "\n"]
    parts += [_of_module(name) for name in MODULES]
    return "\n".join(parts)


def _of_module(name: str) -> str:
    hands_on = name in HANDED_ON
    tree = _tree(name)
    said = (ast.get_docstring(tree) or "").partition("\n")[0] if hands_on else (ast.get_docstring(tree) or "").strip()
    parts = [f"## {name}\n\n{said}\n"]
    for node in _offered(tree) if hands_on else tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            parts.append(fenced("text", _signature(node)) + "\n" + (ast.get_docstring(node) or "") + "\n")
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            parts.append(_of_class(node))
        else:
            parts += [f"- {code(line)}\n" for line in _constant(node)]
    return "\n".join(parts)


def _tree(name: str) -> ast.Module:
    path = SOURCES / name.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def _offered(module: ast.Module) -> Iterator[ast.stmt]:
    """What a module hands on from others, as they define it."""
    for imported in ast.walk(module):  # the imports stand where only type checkers read them
        if isinstance(imported, ast.ImportFrom) and imported.module and imported.module not in PLUMBING:
            yield from (_defined(imported.module, alias.name) for alias in imported.names)


def _defined(module: str, name: str) -> ast.stmt:
    """The statement that defines a name, in a module or where that has it from."""
    for node in _tree(module).body:
        if _name_of(node) == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            return _defined(node.module, name)
    raise LookupError(f"{module} has no {name}")


def _name_of(node: ast.stmt) -> str | None:
    """The name that a statement defines."""
    target = getattr(node, "target", node)
    return getattr(target, "name", None) or getattr(target, "id", None)


def _of_class(node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"class {node.name}({bases})" if bases else f"class {node.name}"]
    lines += [
        f"    {ast.unparse(each)}"
        for each in node.body
        if isinstance(each, ast.AnnAssign | ast.Assign) and not ast.unparse(each).startswith("_")
    ]
    said = []
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and (
            each.name == "__init__" or not each.name.startswith("_")
        ):
            lines.append("    " + _signature(each))
            if each.name != "__init__":
                said.append(f"- `{each.name}`: {first_sentence(ast.get_docstring(each))}")
    return "\n".join([fenced("text", "\n".join(lines)), (ast.get_docstring(node) or "") + "\n", *said, ""])


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    is_property = any(ast.unparse(decorator) == "property" for decorator in node.decorator_list)
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{'property' if is_property else kind} {node.name}({ast.unparse(node.args)}){answer}"


def _constant(node: ast.stmt) -> Iterator[str]:
    """A public constant whose value is short enough to be read."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_"):
        text = f"{node.target.id} = {ast.unparse(node.value)}" if node.value else ""
        if text and len(text) <= 100:
            yield text
