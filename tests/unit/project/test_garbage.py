"""What a test leaves to the garbage collector has that test fail, and not the one that happens to run by then."""

import re
from pathlib import Path

import pytest

from nested import run_tests

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
    (tmp_path / "test_it.py").write_text(f"import asyncio\nimport pytest\n{LEAVES[what]}\ndef test_next():\n    pass\n")
    shown = run(tmp_path)
    assert re.findall(r"^(?:ERROR|FAILED) \S+::(\w+)", shown, re.MULTILINE) == ["test_leaves"], shown
    assert "PASSED test_it.py::test_next" in shown


def test_what_the_tests_of_a_file_keep_for_good_is_not_looked_through_behind_those_of_others(tmp_path: Path) -> None:
    """Else each of thousands of tests pays for the tables that Hypothesis keeps."""
    (tmp_path / "test_first.py").write_text("KEPT = []\n\ndef test_keeps():\n    KEPT.append([[]])\n")
    (tmp_path / "test_then.py").write_text(
        "import gc\nimport test_first\n\ndef test_other():\n"
        "    (kept,) = test_first.KEPT\n    assert not any(each is kept for each in gc.get_objects())\n"
    )
    assert "2 passed" in run(tmp_path)


def run(folder: Path) -> str:
    """Run the tests of a folder as those of the project are run; what is shown."""
    (folder / "pytest.ini").write_text(INI)
    (folder / "conftest.py").write_text(CONFTEST)
    return run_tests(folder, "-rA", ".").stdout
