"""The order of the tests in a run of several processes: what computes beside what waits, the longest first."""

import re
from pathlib import Path

import pytest

import lanes
from nested import run_tests

ROOT = Path(__file__).parents[3]
CONFTEST = """
import lanes

lanes.RANKS = {"tests/chaos/test_long.py": 0}

def pytest_xdist_make_scheduler(config, log):
    return lanes.Lanes(config, log)
"""
# Each of them waits until all processes are at work, so that none of them can take the files of all.
TEST = """
import os, pathlib, time
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    here = pathlib.Path({folder!r})
    (here / os.environ["PYTEST_XDIST_WORKER"]).touch()
    while len(list(here.iterdir())) < {processes}:
        time.sleep(0.01)
"""


def run(folder: Path, processes: int, files: dict[str, int]) -> list[tuple[str, str]]:
    """Run tests, so many of each file; return process and file of each, in the order in which they ended."""
    (folder / "at work").mkdir()
    (folder / "tests").mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "tests/conftest.py").write_text(CONFTEST)
    for file, count in files.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEST.format(count=count, folder=str(folder / "at work"), processes=processes))
    result = run_tests(folder, "-n", str(processes), "--dist", "loadfile", "tests")
    assert result.returncode == 0, result.stdout + result.stderr
    return re.findall(r"^\[(gw\d)\] .*PASSED (\S+?)::", result.stdout, re.MULTILINE)


def test_of_three_processes_the_last_computes_and_the_others_do_all_else(tmp_path: Path) -> None:
    waiting = {f"tests/chaos/test_{name}.py": 3 for name in ("a", "b", "c", "d", "e", "f")}
    computing = {f"tests/unit/test_{name}.py": 3 for name in ("g", "h", "i")}
    found = run(tmp_path, 3, waiting | computing)
    assert len(found) == 27
    assert {file for process, file in found if process != "gw2"} >= waiting.keys()
    assert {file for process, file in found if process == "gw2"} <= computing.keys()
    for file in waiting | computing:
        assert len({process for process, other in found if other == file}) == 1, file


def test_what_is_long_is_begun_first(tmp_path: Path) -> None:
    found = run(tmp_path, 1, {"tests/chaos/test_many.py": 9, "tests/chaos/test_long.py": 1, "tests/unit/test_x.py": 1})
    assert next(file for _, file in found) == "tests/chaos/test_long.py"
    assert len(found) == 11


def test_every_process_of_two_does_all() -> None:
    assert not any(lanes.computes(process, 2) for process in ("gw0", "gw1"))
    assert [process for process in ("gw0", "gw1", "gw2") if lanes.computes(process, 3)] == ["gw2"]


@pytest.mark.parametrize("file", lanes.LONGEST)
def test_what_is_said_to_be_long_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


def test_every_folder_of_what_computes_is_there() -> None:
    assert [folder for folder in lanes.COMPUTING if not (ROOT / folder).is_dir()] == []
