"""The Makefile is the first thing that a newcomer runs: its help is whole, and its targets are what the docs name."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()
WANTED = {"setup", "demo", "test", "check", "bench", "chaos", "docs", "clean", "help"}


def phony() -> set[str]:
    return set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())


def help_lines() -> list[str]:
    result = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    return result.stdout.splitlines()


def test_the_help_lists_every_target() -> None:
    assert {line.split()[1] for line in help_lines()} == phony() >= WANTED


def test_every_line_of_the_help_says_what_the_target_does() -> None:
    assert [line for line in help_lines() if len(line.split()) < 4] == []


def test_plain_make_is_the_help() -> None:
    result = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    assert result.stdout.splitlines() == help_lines()


@pytest.mark.parametrize("target", sorted(WANTED))
def test_a_target_can_be_planned(target: str) -> None:
    result = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr


def test_setup_is_done_again_when_the_project_or_its_lock_changed() -> None:
    assert re.search(r"^\.venv/\.synced: \S+ pyproject\.toml uv\.lock$", MAKEFILE, re.MULTILINE)


def test_what_a_target_runs_may_keep_compiled_modules() -> None:
    """Images for Python often forbid it: then each worker and each command compiles its imports at each start."""
    result = subprocess.run(
        ["make", "--no-print-directory", "--eval", "shown: ; @env", "shown"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert "PATH=" in result.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in result.stdout
