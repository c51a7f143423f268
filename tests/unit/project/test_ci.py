"""CI runs what the README promises, and leaves nothing behind, whatever a test left running."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
RUN = ROOT / ".ci/run"
CONTAIN = ROOT / ".ci/contain"
# As the program itself does it, but without its patience with what is about to end by itself.
IMPATIENT = f"""
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

loader = SourceFileLoader("contain", {str(CONTAIN)!r})
contain = module_from_spec(spec_from_loader("contain", loader))
loader.exec_module(contain)
contain.GRACE_SECONDS = 1.0
sys.exit(contain.main())
"""


def contained(seconds: str, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPATIENT, seconds, "bash", "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def started(result: subprocess.CompletedProcess[str]) -> list[int]:
    return [int(pid) for pid in re.findall(r"^pid (\d+)$", result.stdout, re.MULTILINE)]


def test_ci_runs_what_the_readme_promises_in_this_order() -> None:
    text = RUN.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert re.findall(r"^make (\w+)$", text, re.MULTILINE) == ["setup", "lint", "test", "demo"]
    assert "set -euo pipefail" in text
    assert os.access(RUN, os.X_OK)
    assert subprocess.run(["bash", "-n", RUN], check=False).returncode == 0


def test_ci_is_contained_from_its_first_step() -> None:
    text = RUN.read_text()
    assert text.index("exec python3 .ci/contain") < text.index("make setup")


def test_the_exit_status_is_the_commands() -> None:
    assert contained("20", "exit 0").returncode == 0
    assert contained("20", "exit 7").returncode == 7


def test_what_is_left_behind_in_another_session_is_ended_and_is_a_failure() -> None:
    result = contained("20", "(setsid sleep 301 & echo pid $!) ; exit 0")
    assert result.returncode == 1
    assert "left behind and ended: sleep 301" in result.stderr
    assert started(result)
    assert not any(psutil.pid_exists(pid) for pid in started(result))


def test_what_ignores_a_polite_request_is_ended_too() -> None:
    result = contained("20", "(setsid bash -c 'trap \"\" TERM; while :; do sleep 302; done' & echo pid $!) ; exit 3")
    assert result.returncode == 3
    assert not any(psutil.pid_exists(pid) for pid in started(result))
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "302"]]


def test_an_orphan_that_ended_is_not_taken_for_living() -> None:
    looks = "for _ in {1..50}; do kill -0 $pid 2>/dev/null || exit 0; sleep 0.1; done; exit 9"
    assert contained("20", f"pid=$(bash -c 'sleep 0.3 >/dev/null & echo $!'); {looks}").returncode == 0


def test_a_command_that_takes_too_long_is_ended() -> None:
    result = contained("1", "echo pid $$; exec sleep 303")
    assert result.returncode == 124
    assert "not done after 1 s" in result.stderr
    assert not any(psutil.pid_exists(pid) for pid in started(result))
