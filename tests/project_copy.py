"""A copy of the project, for tests that follow a page of the documentation in it, and commands that run there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import own_environment

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PARTS = (
    *("schemas", "topics", "agents", "workers", "src", "docs", "deploy", "tests"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"),
)


@pytest.fixture(name="copy")
def project_copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source, target = ROOT / part, tmp_path / part
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy2(source, target)
    return tmp_path


def run(command: str, copy: Path, status: int = 0) -> str:
    """A command with the copy's packages in the place of the installed ones, and not measured; what it said."""
    environment = {name: value for name, value in own_environment().items() if not name.startswith("COVERAGE_")}
    environment |= {"PYTHONPATH": str(copy / "src"), "PATH": f"{BIN}:{environment['PATH']}"}
    words = ["bash", "-euo", "pipefail", "-c", command.replace(".venv/bin", str(BIN))]
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == status, f"{command}\n{done.stdout[-4000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr
