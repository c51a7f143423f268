"""The beginning and the end of a worker: a stop is heard from the first second on, and the log says what counts."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grouped import Group, GroupWorker, group
from processes import ENTRY_POINT, own_environment, running, until

pytestmark = pytest.mark.broker

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


def catches(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("words", "status"), [("worker", 0), ("broker --port 0", 0), ("demo", 130)], ids=["worker", "broker", "demo"]
)
def test_a_stop_while_a_command_is_being_loaded_ends_it_cleanly(
    tmp_path: Path, words: str, status: int, number: signal.Signals
) -> None:
    """The demo is asked to end as by Ctrl-C."""
    log = tmp_path / "log"
    environment = own_environment(ANNALS_BOOTSTRAP_SERVERS="127.0.0.1:1", ANNALS_DATA_DIR=str(tmp_path / "data"))
    # Coverage hears SIGTERM before anything of this project is loaded, and ends the process by it.
    unwatched = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_PROCESS_")}
    with running([ENTRY_POINT, *words.split()], unwatched, log) as process:
        until(lambda: catches(process, number), process, log, "it hears the signal")
        process.send_signal(number)
        assert process.wait(60) == status
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("number", STOPS)
def test_each_signal_that_ends_a_worker_ends_it_in_order(crew: Group, number: signal.Signals) -> None:
    worker = crew.worker("one").until_ready()
    assert worker.end(number) == 0
    assert worker.logged("worker stopped")
    assert crew.members() == 0


def test_a_healthy_life_has_no_line_of_alarm_and_one_when_all_shards_are_open(crew: Group) -> None:
    first = crew.worker("first").until_ready()
    first.until(lambda: first.logged("all shards open"), "all are open")
    second = crew.worker("second").until_ready()
    second.until(lambda: second.logged("all shards open"), "all are open")
    first.until(lambda: len(first.logged("all shards open")) == 2, "all are open after the rebalance")
    assert set(crew.answers()) == {"accepted"}
    assert (second.end(), first.end()) == (0, 0)
    for worker in (first, second):
        assert alarms(worker) == []
    assert [line["shards"] for line in first.logged("all shards open")] == [2, 1]


def alarms(worker: GroupWorker) -> list[str]:
    """Its warnings and errors, without what this broker alone gives cause for: one disk, two partitions."""
    lines = [line for line in worker.logged("{") if line["level"] in {"warning", "error"}]
    return [line["event"] for line in lines if "replicas is 1" not in line["event"]]
