"""The end of a process that is still being loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from processes import ENTRY_POINT, own_environment

# Whatever is raised in `__del__` is printed and forgotten: a stop that were an exception would be lost there.
IN_A_FINALIZER = """
import signal
from annals.workers.cli.stopping import end_at_once_on_signals

class Module:
    def __del__(self):
        signal.raise_signal(signal.Signals(int({number})))

end_at_once_on_signals()
module = Module()
del module
raise SystemExit(7)
"""


@pytest.mark.parametrize("number", [1, 15])
def test_a_stop_is_heard_wherever_the_import_stands(number: int) -> None:
    code = IN_A_FINALIZER.format(number=number)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# One of those that the demo is made of.
MODULE = """
import signal

class Native:
    def __del__(self):
        signal.raise_signal(signal.Signals({number}))

native = Native()
del native
raise SystemExit(7)
"""


def test_a_ctrl_c_while_the_command_line_is_loaded_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(MODULE.format(number=2))
    result = subprocess.run(
        [ENTRY_POINT, "verify"],
        env=own_environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.parametrize("number", [1, 2, 15])
def test_the_demo_hears_a_stop_wherever_its_import_stands(tmp_path: Path, number: int) -> None:
    """Goes red when it is an exception: it is lost in a callback, and the demo is told."""
    (tmp_path / "multidict.py").write_text(MODULE.format(number=number))
    result = subprocess.run(
        [ENTRY_POINT, "demo"],
        env=own_environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
