"""docs/how-to/add-a-projection.md followed step by step in a copy of the project, and what the scaffold writes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import own_environment

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs/how-to/add-a-projection.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PARTS = (
    *("schemas", "topics", "agents", "workers", "src", "docs", "deploy", "tests"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"),
)
REGISTRY = "agents/projections/__init__.py"

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source, target = ROOT / part, tmp_path / part
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy2(source, target)
    return tmp_path


def run(command: str, copy: Path) -> str:
    """A command with the copy's packages in the place of the installed ones; what it said."""
    environment = {name: value for name, value in own_environment().items() if not name.startswith("COVERAGE_")}
    environment |= {"PYTHONPATH": str(copy / "src"), "PATH": f"{BIN}:{environment['PATH']}"}
    words = ["bash", "-euo", "pipefail", "-c", command.replace(".venv/bin", str(BIN))]
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_the_page_works_as_it_is_written_and_so_does_the_scaffold(copy: Path) -> None:
    assert "wrote agents/projections/name_list.py" in run("annals new projection name_list", copy)
    run(f"ruff format --check {REGISTRY} && ruff check {REGISTRY}", copy)
    for name, text in FILES:
        (copy / name).write_text(text)
    (lines,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    imported, registered = (line[1:] for line in lines.splitlines() if line.startswith("+"))
    registry = (copy / REGISTRY).read_text().replace("\n}", f"\n{registered}\n}}")
    last = re.findall(r"^from annals\.agents\.projections\.\w+ import \w+$", registry, re.MULTILINE)[-1]
    (copy / REGISTRY).write_text(registry.replace(last, f"{last}\n{imported}"))
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    run(commands, copy)
    added = "agents/projections/name_list.py tests/unit/agents/projections/test_name_list.py"
    files = f"{' '.join(name for name, _ in FILES)} {added}"
    run(f"ruff format --check {files} && ruff check {files} && mypy && lint-imports", copy)
    run("pytest -q -p no:randomly tests/unit/agents/projections/test_name_list.py", copy)
    assert "## titles" in (copy / "docs/reference/projections.md").read_text()
