"""docs/how-to/write-a-reaction.md followed step by step in a copy of the project, and what the scaffold writes."""

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
PAGE = (ROOT / "docs/how-to/write-a-reaction.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PARTS = (
    *("schemas", "topics", "agents", "workers", "src", "docs", "deploy", "tests"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"),
)
REGISTRY = "agents/reactions/__init__.py"

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


def run(command: str, copy: Path, status: int = 0) -> str:
    """A command with the copy's packages in the place of the installed ones; what it said."""
    environment = {name: value for name, value in own_environment().items() if not name.startswith("COVERAGE_")}
    environment |= {"PYTHONPATH": str(copy / "src"), "PATH": f"{BIN}:{environment['PATH']}"}
    words = ["bash", "-euo", "pipefail", "-c", command.replace(".venv/bin", str(BIN))]
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, f"{command}\n{done.stdout[-4000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_the_page_works_as_it_is_written_and_so_does_the_scaffold(copy: Path) -> None:
    begin, test_it = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert "wrote agents/reactions/archive_drafts.py" in run(begin, copy)
    assert [name for name, _ in FILES] == [
        "agents/reactions/archive_drafts.py",
        "tests/unit/agents/reactions/test_archive_drafts.py",
    ]
    for name, text in FILES:
        assert (copy / name).exists()
        (copy / name).write_text(text)
    (lines,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in (line[1:] for line in lines.splitlines() if line.startswith("+")):
        assert f"{line}\n" in (copy / REGISTRY).read_text()
    run(test_it, copy)

    # One that nobody has touched, whose name is as pytest calls what it collects.
    assert "wrote agents/reactions/test_drafts.py" in run("annals new reaction test-drafts", copy)
    written = "agents/reactions/test_drafts.py tests/unit/agents/reactions/test_test_drafts.py"
    files = f"{' '.join(name for name, _ in FILES)} {written} {REGISTRY}"
    run(f"ruff format --check {files} && ruff check {files} && mypy && lint-imports", copy)
    run("mypy --config-file tests/mypy.ini tests/unit/agents/reactions/test_test_drafts.py", copy)
    run("python docs/generate.py --check && annals schemas check", copy)
    run("pytest -q -p no:randomly tests/unit/agents/reactions", copy)
    assert "there is a reaction 'test-drafts' already" in run("annals new reaction test-drafts", copy, status=2)
