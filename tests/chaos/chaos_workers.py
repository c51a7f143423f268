"""Worker processes under test: started with a plan, asked by their health and metrics, ended whatever happens."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import psutil

from processes import WITHIN_S, answer_of, free_port, own_environment, until_over

HERE: Final = Path(__file__).parent
PLUGINS: Final = {"wagon": HERE / "plugin", "barge": HERE / "plugin_barge"}
KINDS: Final = ("person", "wagon")
SESSION_MS: Final = 3_000  # the broker of these tests allows less than the 6 s of others
LOOK_S: Final = 0.05
T = TypeVar("T")


def eventually(answer: Callable[[], T], what: str, within_s: float = WITHIN_S, told: Callable[[], str] = str) -> T:
    """What `answer` says as soon as that is something; AssertionError with `told` when that takes too long."""
    deadline = time.monotonic() + within_s
    while not (said := answer()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:.0f} s\n{told()}"
        time.sleep(LOOK_S)
    return said


class Worker:
    """One worker process; `log` has its standard error."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.port = int(environment["ANNALS_WEB_PORT"])
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def ask(self, path: str) -> tuple[int, str]:
        """The status and body of a page; status 0 when nothing answers."""
        status, body = answer_of(f"http://127.0.0.1:{self.port}{path}")
        return status, body.decode()

    def reasons(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        status, body = self.ask("/health/ready")
        return json.loads(body)["reasons"] if status else ["it does not answer"]

    def until_reason(self, begin: str, *words: str) -> str:
        """The reason of readiness that begins so and has all of these words, once there is one.

        What begins so may say something else before: that the brokers are away which are being restarted.
        """

        def reason() -> str:
            assert self.process.poll() is None, self.told()
            begun = (each for each in self.reasons() if each.startswith(begin))
            return next((each for each in begun if all(word in each for word in words)), "")

        return eventually(reason, f"a reason begins with {begin!r} and has {words}", told=self.told)

    def until_first_reason(self, begin: str, *words: str) -> str:
        """The first reason of readiness that begins so, of what holds for good: it has all of these words."""
        found = self.until_reason(begin)
        assert [word for word in words if word not in found] == [], found
        return found

    def is_ready(self) -> bool:
        return self.ask("/health/ready")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all that have these labels."""
        total = 0.0
        for line in self.ask("/metrics")[1].splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                given = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if labels.items() <= given.items():
                    total += float(found[3])
        return total

    def until_ready(self, within_s: float = WITHIN_S) -> Self:
        eventually(lambda: self.is_ready() or self._is_over(), "worker ready", within_s, self.told)
        assert self.process.poll() is None, self.told()
        return self

    def until_over(self, within_s: float = WITHIN_S) -> int:
        """Wait for its end by itself, and return its exit status."""
        return until_over(self.process, self.log, within_s)

    def until_stopped(self, within_s: float = WITHIN_S) -> Self:
        """Wait until it has stopped itself (SIGSTOP) at a point of its plan."""
        process = psutil.Process(self.process.pid)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, "worker stopped", within_s, self.told)
        return self

    def until_logged(self, text: str, within_s: float = WITHIN_S) -> str:
        """Wait until it has logged a line with this text, and return that."""

        def line() -> str:
            return next((each for each in self.log.read_text().splitlines() if text in each), "")

        return eventually(line, f"logged: {text}", within_s, self.told)

    def signal(self, number: signal.Signals) -> Self:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(30)

    def end(self) -> int:
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        return self.until_over()

    def told(self) -> str:
        return f"{self.reasons()}\n{self.log.read_text()[-6000:]}"

    def _is_over(self) -> bool:
        return self.process.poll() is not None


class Deployment:
    """The workers of one topic prefix on one broker, each with a data directory of its own unless told otherwise."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, kinds: tuple[str, ...] = KINDS) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.folder = folder
        self.kinds = kinds
        self.workers: list[Worker] = []

    def data_dir(self, name: str) -> Path:
        """The data directory of a worker."""
        return self.folder / name

    def start(self, name: str = "a", plan: dict[str, Any] | None = None, **settings: str) -> Worker:
        """Start a worker; `settings` are those of the environment, without their prefix."""
        given = {
            "BOOTSTRAP_SERVERS": self.bootstrap,
            "TOPIC_PREFIX": self.prefix,
            "DATA_DIR": str(self.data_dir(name)),
            "WEB_PORT": str(free_port()),
            **settings,
        }
        environment = own_environment(**{f"ANNALS_{key}": value for key, value in given.items()})
        if plugins := [str(folder) for kind, folder in PLUGINS.items() if kind in self.kinds]:
            environment["PYTHONPATH"] = os.pathsep.join([*plugins, *filter(None, [os.environ.get("PYTHONPATH")])])
        whole = {"kinds": self.kinds, "session_ms": SESSION_MS, **(plan or {})}
        command = [sys.executable, str(HERE / "chaos_launcher.py"), json.dumps(whole), "worker"]
        worker = Worker(command, environment, self.folder / f"{name}-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def told(self) -> str:
        """Where the workers that run wait, and the ends of all logs, for those who ask why."""
        waiting = [worker for worker in self.workers if worker.process.poll() is None]
        for worker in waiting:
            worker.signal(signal.SIGUSR1)
        reasons = [f"{worker.log.name}: {worker.reasons()}" for worker in waiting]
        logs = [f"--- {worker.log.name}\n{worker.log.read_text()[-6000:]}" for worker in waiting or self.workers[-3:]]
        return "\n".join([*reasons, *logs])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.process.wait(15)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


@contextlib.contextmanager
def ended(*workers: Worker) -> Iterator[None]:
    """Workers that are ended in order on leaving."""
    try:
        yield
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.end()


def open_handles(worker: Worker) -> dict[str, int]:
    """Its sockets, threads and file handles."""
    process = psutil.Process(worker.process.pid)
    with process.oneshot():
        sockets = len([each for each in process.net_connections() if each.status != psutil.CONN_TIME_WAIT])
        return {
            "sockets": sockets,
            "threads": process.num_threads(),
            "handles": len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
        }
