"""The examples show what a program may rely on: they import nothing that is the project's own affair."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from annals.schemas.kinds import KINDS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OWN = ("schemas", "topics", "agents", "workers")
REFERENCE = (ROOT / "docs/reference/python-api.md").read_text()
PUBLIC = {*re.findall(r"^## (\S+)$", REFERENCE, re.MULTILINE), *(f"schemas.{kind}" for kind in KINDS)}


def imported(example: Path) -> set[tuple[str, str]]:
    """The project's modules that an example imports from, and what."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(example.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OWN
        for alias in node.names
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_imports_only_what_is_public(example: Path) -> None:
    for module, name in imported(example):
        whole = f"{module}.{name}"
        assert module in PUBLIC or whole in PUBLIC, f"{example.name} imports {name} from {module}"
        offered = getattr(importlib.import_module(module), "__all__", None)
        assert offered is None or name in offered or whole in PUBLIC


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_asked_for_help_an_example_does_nothing_else(example: Path) -> None:
    """Goes red when `--help` is taken for an id: a person of that name was registered."""
    done = subprocess.run([sys.executable, example, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
