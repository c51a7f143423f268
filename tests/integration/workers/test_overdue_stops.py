"""A worker that was told to stop ends in time, whatever does not: its log says what that was. No broker is needed."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grouped import LAUNCHER, GroupWorker
from processes import free_port, own_environment, running

pytestmark = pytest.mark.broker

NAMES_ARE_SLOW = """
import socket, time

def look_up(*names, **how):
    print("a name is looked up", flush=True)
    time.sleep(600)

socket.getaddrinfo = look_up
"""
TAKES_NO_CANCELLATION = """
import asyncio
from annals.workers import worker

async def look_for_ever(self):
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

worker.Worker._look = look_for_ever
"""
HOLDS_THE_LOOP = """
import time
from annals.workers import process

def ask(self):
    time.sleep(600)

process.Stop.ask = ask
"""


LOADS_FOR_EVER = """
import sys, time
from pathlib import Path

if "-m" in sys.orig_argv and "annals.workers.reader_child" in sys.orig_argv:
    Path(__file__).with_name("loading").touch()
    time.sleep(600)
"""


@contextmanager
def worker(folder: Path, defect: str, roles: str = "write", **seconds: float) -> Iterator[GroupWorker]:
    """One whose broker cannot be reached, with a defect and other times."""
    port, log = free_port(), folder / "worker.log"
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS="nowhere.invalid:9092",
        ANNALS_DATA_DIR=str(folder / "data"),
        ANNALS_WEB_PORT=str(port),
        ANNALS_LOG_FORMAT="json",
        ANNALS_ROLES=roles,
        PYTHONPATH=str(folder),
    )
    patches = {f"annals.workers.overdue:{name}": value for name, value in seconds.items()} | {"exec": defect}
    with running([sys.executable, "-c", LAUNCHER, json.dumps(patches), "worker"], environment, log) as process:
        made = GroupWorker(process, port, log)
        made.until(lambda: made.health() is not None, "it answers")
        yield made


def waiting(line: dict[str, Any]) -> str:
    """What a line of its log says that it waits for."""
    return "\n".join(line["waiting"])


def test_a_thread_that_looks_a_name_up_keeps_no_process(tmp_path: Path) -> None:
    with worker(tmp_path, NAMES_ARE_SLOW, LEFT_WITHIN_S=1.0) as made:
        made.until(lambda: "a name is looked up" in made.log.read_text(), "a thread waits")
        assert made.end() == 0
        (stopped,) = made.logged("worker stopped")
        (left,) = made.logged("what it left does not end")
        assert "thread asyncio_0: " in waiting(left)
        assert stopped["level"] == "info"


def test_a_task_that_takes_no_cancellation_is_named_and_the_process_ends(tmp_path: Path) -> None:
    with worker(tmp_path, TAKES_NO_CANCELLATION, NAMED_AFTER_S=0.5, ENDED_AFTER_S=1.5) as made:
        assert made.end() == 0
        (long,) = made.logged("the stop takes long")
        (forced,) = made.logged("did not stop in time")
        assert all("look_for_ever (<string>:" in waiting(line) for line in (long, forced))
        assert (long["level"], forced["level"]) == ("warning", "error")


def test_an_event_loop_that_stands_still_is_named_and_the_process_ends(tmp_path: Path) -> None:
    with worker(tmp_path, HOLDS_THE_LOOP, NAMED_AFTER_S=0.5, ENDED_AFTER_S=1.5) as made:
        assert made.end() == 0
        (long,) = made.logged("the stop takes long")
        assert "thread MainThread: " in waiting(long)
        assert "> ask (<string>:" in waiting(long)


def test_a_reading_process_that_is_being_loaded_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LOADS_FOR_EVER)
    with worker(tmp_path, "", roles="write,read") as made:
        made.until((tmp_path / "loading").exists, "the reading process is being loaded")
        assert made.end() == 0
        assert made.logged("worker stopped")
        assert not made.logged("did not stop in time")
