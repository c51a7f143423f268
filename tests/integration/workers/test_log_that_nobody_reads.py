"""A worker whose log nobody reads: it works, it says what is missing, and it hears a stop. No broker is needed."""

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grouped import GroupWorker
from processes import ENTRY_POINT, free_port, own_environment, until_over

pytestmark = pytest.mark.broker

NOWHERE = "127.0.0.1:1"


def filled(pipe: int) -> None:
    """Fill a pipe to the brim."""
    os.set_blocking(pipe, False)
    while select.select([], [pipe], [], 0)[1]:
        os.write(pipe, b"x" * select.PIPE_BUF)
    os.set_blocking(pipe, True)


@contextmanager
def unheard(folder: Path, roles: str) -> Iterator[tuple[GroupWorker, int]]:
    """A worker whose standard error is a full pipe, and the end that nobody reads."""
    port, (reading, writing) = free_port(), os.pipe()
    filled(writing)
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=NOWHERE,
        ANNALS_DATA_DIR=str(folder / "data"),
        ANNALS_WEB_PORT=str(port),
        ANNALS_API_PORT="0",
        ANNALS_LOG_FORMAT="json",
        ANNALS_ROLES=roles,
    )
    log = folder / "log"
    log.touch()
    process = subprocess.Popen([ENTRY_POINT, "worker"], env=environment, stdout=writing, stderr=writing)
    os.close(writing)
    try:
        yield GroupWorker(process, port, log), reading
    finally:
        os.close(reading)
        process.terminate()
        until_over(process, log, 30)


@pytest.mark.parametrize("roles", ["write", "write,read"])
def test_a_full_pipe_holds_no_worker_up(tmp_path: Path, roles: str) -> None:
    with unheard(tmp_path, roles) as (worker, reading):
        worker.until_told(NOWHERE)  # which it says in a line of its log, too
        os.read(reading, 1 << 20)
        assert worker.end() == 0
        said = os.read(reading, 1 << 20).decode()
        assert "lines of this log were left out: standard error was not read in time" in said
        assert '"worker stopped"' in said


def test_a_stop_is_heard_while_nobody_reads_the_log(tmp_path: Path) -> None:
    with unheard(tmp_path, "write,read") as (worker, _):
        worker.until(worker.health, "it says why it is not ready")
        assert worker.end() == 0
