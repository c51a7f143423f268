"""Tests that tests write and have run: by a pytest of their own, with this folder's modules and nothing else of it."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def run_tests(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Have pytest run in a folder, in a fixed order and without a cache; words: further options and paths."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_PROCESS_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:randomly", "-p", "no:cacheprovider", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
