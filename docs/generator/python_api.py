"""docs/reference/python-api.md, from the source of the modules that other programs may import."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from generator.markdown import code, fenced, first_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# In the order in which somebody needs them. What is not here is the project's own affair.
MODULES = (
    "annals.schemas.kinds",
    "annals.schemas.cid",
    "annals.schemas.canonical",
    "annals.schemas.chain",
    "annals.schemas.envelope",
    "annals.schemas.commands",
    "annals.schemas.messages",
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
    "annals.agents.deciding.comparison",
    "annals.agents.testing.specification",
    "annals.agents.testing.workbench",
    "annals.agents.testing.strategies",
    "annals.agents.testing.histories",
    "annals.agents.testing.laws",
    "annals.agents.testing.suite",
    "annals.workers.client",
    "annals.workers.settings",
)
INTRO = """# Python

The modules that a program beside the worker may import: to write its own reader, to send commands, to add an
aggregate; and `schemas.<kind>`, the commands and events of each [kind](commands.md). The package names are flat, so the
project is installed from its checkout and never uploaded. Everything else is internal.
"""


def page() -> str:
    """Return the page."""
    parts = [INTRO, " · ".join(f"[{name}](#{name.replace('.', '')})" for name in MODULES) + "\n"]
    parts += [_of_module(name) for name in MODULES]
    return "\n".join(parts)


def _of_module(name: str) -> str:
    path = ROOT / name.replace(".", "/")
    is_package = path.is_dir()
    tree = _tree(name)
    said = (ast.get_docstring(tree) or "").partition("\n")[0] if is_package else (ast.get_docstring(tree) or "").strip()
    parts = [f"## {name}\n\n{said}\n"]
    for node in _offered(tree) if is_package else tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            parts.append(fenced("text", _signature(node)) + "\n" + (ast.get_docstring(node) or "") + "\n")
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            parts.append(_of_class(node))
        else:
            parts += [f"- {code(line)}\n" for line in _constant(node)]
    return "\n".join(parts)


def _tree(name: str) -> ast.Module:
    path = ROOT / name.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def _offered(package: ast.Module) -> Iterator[ast.stmt]:
    """What a package hands on from its modules, as they define it."""
    for imported in package.body:
        if isinstance(imported, ast.ImportFrom) and imported.module:
            wanted = {alias.name for alias in imported.names}
            yield from (node for node in _tree(imported.module).body if getattr(node, "name", None) in wanted)


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
