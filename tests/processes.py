"""Processes of `annals` for tests: started, waited for by their progress, and ended whatever happens."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil

ENTRY_POINT = Path(sys.executable).with_name("annals")
WITHIN_S = 300.0  # ends a test that has failed; a machine that is busy with others takes its time
LOOK_S = 0.2
STACKS_WITHIN_S = 30.0
GIVEN: set[int] = set()
BACK_SOON = {"broker.session.timeout.ms": "3000"}
"""Of a broker that is killed: it is let in again when its last session is over, by default after nine seconds."""


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections.

    Each process of the test run chooses among its own: what one of them is about to listen on, no other is given.
    """
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    while True:
        port = secrets.choice(range(12_000 + 5_000 * mine, 17_000 + 5_000 * mine))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in GIVEN:
                GIVEN.add(port)
                return port


def own_environment(**settings: str) -> dict[str, str]:
    """This environment without any of the project's settings but where Kafka is cached, and with these.

    A worker only decides unless it is told to read, too: a second process for each would take its time and its port.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANNALS_")}
    if cache := os.environ.get("ANNALS_CACHE_DIR"):
        kept["ANNALS_CACHE_DIR"] = cache
    # on SIGABRT Python writes the stacks of all threads (`until_over`)
    return {**kept, "ANNALS_ROLES": "write", "PYTHONFAULTHANDLER": "1", **settings}


@contextmanager
def running(
    command: Sequence[Any], environment: dict[str, str], log: Path, **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, **how)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                until_over(process, log)


def until_over(process: subprocess.Popen[bytes], log: Path, within_s: float = WITHIN_S) -> int:
    """The exit status of a process that ends by itself; one that does not leaves its stacks in its log, and fails.

    Where the test is ended meanwhile, as by pytest's own alarm, the process ends with it.
    """
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        its = psutil.Process(process.pid)
        told = [*its.children(recursive=True), its]
        for each in told:  # one after another: they write their stacks to one file
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGCONT)  # one that was stopped would not hear anything
                each.send_signal(signal.SIGABRT)
                deadline = time.monotonic() + STACKS_WITHIN_S
                while each.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
                    with suppress(psutil.TimeoutExpired):
                        each.wait(LOOK_S)
                each.kill()
        process.wait()
        raise AssertionError(f"it did not end within {within_s:.0f} s\n{log.read_text()[-12_000:]}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def until(is_so: Callable[[], Any], process: subprocess.Popen[bytes], log: Path, what: str) -> Any:
    """What `is_so` answers as soon as that is something; the process must live until then."""
    deadline = time.monotonic() + WITHIN_S
    while not (answer := is_so()):
        assert process.poll() is None, f"{what}: ended with {process.returncode}\n{log.read_text()[-4000:]}"
        assert time.monotonic() < deadline, f"{what}: not within {WITHIN_S:.0f} s\n{log.read_text()[-4000:]}"
        # Its end is noticed at once; otherwise this is a health check's interval, in small.
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
    return answer


def annals(
    *arguments: str, environment: dict[str, str], said: str | None = None, within_s: int = 600
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; said: its standard input, if it has one of its own."""
    command = [ENTRY_POINT, *arguments]
    return subprocess.run(
        command, input=said, env=environment, capture_output=True, text=True, timeout=within_s, check=False
    )


@contextmanager
def worker_on_topics_of_its_own(bootstrap: str, topic_prefix: str, folder: Path) -> Iterator[dict[str, str]]:
    """Topics with two partitions under a prefix, and a worker that is ready; the environment that leads to both."""
    port = free_port()
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=topic_prefix,
        ANNALS_PARTITIONS="2",
        ANNALS_DATA_DIR=str(folder / "data"),
        ANNALS_WEB_PORT=str(port),
    )
    created = annals("topics", "create", environment=environment)
    assert created.returncode == 0, created.stderr
    log = folder / "worker.log"
    with running([ENTRY_POINT, "worker"], environment, log) as worker:
        until(lambda: is_ready(port), worker, log, "annals worker")
        yield environment


def is_ready(port: int) -> bool:
    """Whether a worker says that it is ready."""
    return answer_of(f"http://127.0.0.1:{port}/health/ready")[0] == 200


def page_of(port: int, path: str) -> str:
    """A page of a worker's own server; empty where it does not answer with one."""
    status, body = answer_of(f"http://127.0.0.1:{port}{path}")
    return body.decode() if status == 200 else ""


def answer_of(asked: str | urllib.request.Request, timeout_s: float = 30) -> tuple[int, bytes]:
    """The status and the body of an answer; status 0 where none came whole.

    Nobody listens, or who did was killed in the midst of it: then the connection is reset, or ends too early.
    """
    with suppress(OSError, HTTPException):
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
    return 0, b""
