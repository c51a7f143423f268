"""The examples show what a program may rely on: they import nothing that is the project's own affair."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PUBLIC = re.compile(r"annals(\.client|\.testing|\.schemas(\.\w+)*)?")


def imported(example: Path) -> set[tuple[str, str]]:
    """The project's modules that an example imports from, and what."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(example.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "annals"
        for alias in node.names
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_imports_only_what_is_public(example: Path) -> None:
    for module, name in imported(example):
        assert PUBLIC.fullmatch(module), f"{example.name} imports {name} from {module}"
        offered = getattr(importlib.import_module(module), "__all__", None)
        assert offered is None or name in offered


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_asked_for_help_an_example_does_nothing_else(example: Path) -> None:
    """Goes red when `--help` is taken for an id: a person of that name was registered."""
    done = subprocess.run([sys.executable, example, "--help"], capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
