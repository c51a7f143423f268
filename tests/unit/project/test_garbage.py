"""What a test leaves to the garbage collector has that test fail, and not the one that happens to run by then."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONFTEST = "from garbage import pytest_collection_finish, pytest_runtest_teardown\n"
INI = "[pytest]\nfilterwarnings = error\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
# Each is reachable by nothing but itself, so that only the collector finds it.
LEAVES = {
    "a coroutine": """
async def test_leaves():
    async def waiting():
        await asyncio.sleep(0)
    left = [waiting()]
    left.append(left)
""",
    "an event loop": """
def test_leaves():
    left = [asyncio.new_event_loop()]
    left.append(left)
""",
    "a generator of a fixture": """
class Scene:
    def __init__(self):
        self.me, self.steps = self, self.run()
        next(self.steps)
    def run(self):
        try:
            yield
        finally:
            raise RuntimeError("ended by the collector")

@pytest.fixture
def scene():
    return Scene()

def test_leaves(scene):
    pass
""",
}


@pytest.mark.parametrize("what", LEAVES)
def test_who_leaves_something_fails_and_the_next_one_does_not(tmp_path: Path, what: str) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(f"import asyncio\nimport pytest\n{LEAVES[what]}\ndef test_next():\n    pass\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_PROCESS_"))}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rA", "-p", "no:randomly", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert re.findall(r"^(?:ERROR|FAILED) \S+::(\w+)", result.stdout, re.MULTILINE) == ["test_leaves"], result.stdout
    assert "PASSED test_it.py::test_next" in result.stdout
