"""Tests that leave something which all tests of the process share fail, and say what it is."""

import re
from pathlib import Path

from nested import run_tests

CONFTEST = """
import pytest
from process_state import left_behind, process_state

@pytest.fixture(scope="module", autouse=True)
def process_as_it_was():
    before = process_state()
    yield
    left = left_behind(before, process_state())
    assert not left, "; ".join(left)
"""
LEAVES = {
    "the handler of SIGUSR1": "signal.signal(signal.SIGUSR1, print)",
    "the variable ANNALS_SPEED": "os.environ['ANNALS_SPEED'] = '1'",
    "the working directory": "os.chdir('/')",
    "the logger aiokafka": "logging.getLogger('aiokafka').setLevel(logging.ERROR)",
    "the level below which nothing is logged": "logging.disable(logging.CRITICAL)",
    "how structlog writes": "structlog.configure(cache_logger_on_first_use=True)",
    "the depth of recursion": "sys.setrecursionlimit(10_000)",
    "the limit RLIMIT_CORE": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
}


def test_all_that_tests_leave_is_named(tmp_path: Path) -> None:
    imports, body = "import logging, os, resource, signal, structlog, sys", "\n    ".join(LEAVES.values())
    (tmp_path / "test_it.py").write_text(
        f"{imports}\nimport aiokafka\n\ndef test_leaves():\n    {body}\n\ndef test_last():\n    pass\n"
    )
    shown = run(tmp_path)
    assert re.findall(r"^(?:ERROR|FAILED) \S+::(\w+)", shown, re.MULTILINE) == ["test_last"], shown
    assert [what for what in LEAVES if f"{what}: " not in shown] == []


def test_what_is_given_back_is_nobodys_fault(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os, signal\n\ndef test_gives_back(monkeypatch):\n    monkeypatch.setenv('ANNALS_SPEED', '1')\n"
        "    before = signal.signal(signal.SIGUSR1, print)\n    signal.signal(signal.SIGUSR1, before)\n"
    )
    assert "1 passed" in run(tmp_path)


def run(folder: Path) -> str:
    """Run the tests of a folder; what is shown."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    return run_tests(folder, "-rA", ".").stdout
