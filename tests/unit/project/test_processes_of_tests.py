"""The processes that tests start end with them, however these end."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import running, until_over

COMMAND = [sys.executable, "-c", "import time; time.sleep(600)"]


class Alarm(BaseException):
    """The test has taken too long."""


class Alarmed(subprocess.Popen[bytes]):
    """A process whose end is waited for as the alarm comes."""

    def wait(self, timeout: float | None = None) -> int:
        if timeout is not None:
            raise Alarm
        return super().wait()


def test_a_process_that_a_test_waits_for_ends_with_the_test(tmp_path: Path) -> None:
    """Goes red when it lives on behind pytest's alarm, beside the tests that follow."""
    with Alarmed(COMMAND) as process:
        try:
            with pytest.raises(Alarm):
                until_over(process, tmp_path / "log")
            assert process.poll() == -9
        finally:
            process.kill()


def test_one_that_is_still_running_at_the_end_of_a_test_is_told_to_stop(tmp_path: Path) -> None:
    environment: dict[str, Any] = {}
    with running(COMMAND, environment, tmp_path / "log") as process:
        assert process.poll() is None
    assert process.returncode == -15


def test_who_asks_for_a_broker_is_marked_so(request: pytest.FixtureRequest) -> None:
    """Of all tests of this run: `-m "not broker"` is to need none."""
    brokers = {"bootstrap", "shared_classes"}
    asking = [
        item for item in request.session.items if isinstance(item, pytest.Function) and brokers & {*item.fixturenames}
    ]
    assert [item.nodeid for item in asking if not item.get_closest_marker("broker")] == []
