"""The tests' own way to wait for an end: a process that does not end fails the test, with its stacks."""

import sys
from pathlib import Path

import pytest

from processes import own_environment, running, until, until_over

HANGS = """
import signal, subprocess, sys, time

def hang_here():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("hangs", flush=True)
    time.sleep(600)

if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, "-c", sys.argv[0], "child"])
hang_here()
"""


def test_a_process_that_does_not_end_leaves_the_stacks_of_all_its_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = HANGS.replace("sys.argv[0]", "code").replace("\ndef", f"\ncode = {HANGS!r}\n\ndef", 1)
    with running([sys.executable, "-c", program], own_environment(), log) as process:
        until(lambda: log.read_text().count("hangs") == 2, process, log, "both hang")
        process.terminate()
        with pytest.raises(AssertionError, match="did not end within 0 s") as failure:
            until_over(process, log, 0.1)
        assert str(failure.value).count("in hang_here") == 2
        assert process.poll() is not None
