"""What the demo stands on: a broker, topics and worker processes on free ports, in one folder."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from annals.workers import launcher
from annals.workers.data_folder import READ_LOCK, DataFolder
from annals.workers.kafka.admin.provisioning import create
from annals.workers.settings import environment_without_settings, load_settings
from annals.workers.tools.broker import Broker
from annals.workers.tools.broker.java import last_words
from annals.workers.tools.demo.memory import recall
from annals.workers.tools.demo.teller import DifferedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from annals.workers.settings import Settings
    from annals.workers.tools.broker.jars import Progress

ANNALS: Final = ("-c", "from annals.workers.cli import main; main()")
LOOK_S: Final = 0.1
READY_S: Final = 180.0  # it takes about 5 on an idle machine
WRITE: Final = "write"
WRITE_AND_READ: Final = "write,read"
PARTITIONS: Final = 2  # of each kind: one for each worker; more take longer to open and show nothing more
STOP_S: Final = 20.0
OPEN: Final = re.compile(r'^annals_shard_open\{kind="person",partition="(\d+)"\} 1\.0$', re.MULTILINE)


class WorkerProcess:
    """One process of `annals worker`, which ends with this one however that ends."""

    def __init__(self, name: str, settings: Settings, folder: Path, roles: str) -> None:
        """Start it. Its stores and its log are in the folder. roles: `WRITE` or `WRITE_AND_READ`."""
        self.name = name
        self._reading = DataFolder(folder / name, READ_LOCK) if roles == WRITE_AND_READ else None
        self._log = folder / f"{name}.log"
        arguments = [
            *(*ANNALS, "worker", "--bootstrap-servers", settings.bootstrap_servers),
            *("--roles", roles, "--data-dir", str(folder / name), "--log-format", "json"),
            *("--web-port", "0", "--api-port", "0"),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", launcher.__file__, str(os.getpid()), sys.executable, *arguments],
                env=environment_without_settings(),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for this process, which then ends them
            )
        self._address: tuple[str, int] | None = None

    @property
    def api_url(self) -> str:
        """Where its API is reached.

        Raises:
            DifferedError: its log names none.
        """
        url = self._logged("api")
        if url is None:
            raise DifferedError(f"the log of {self.name} does not say where its API is")
        return url

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it takes the commands of all partitions that it is assigned, and answers questions if it is to.

        Raises:
            DifferedError: it has ended; the message has its last words.
        """
        if self._process.poll() is not None:
            words = last_words(self._log.read_bytes())
            raise DifferedError(f"{self.name} ended with {self._process.returncode}: {words}")
        return self._ask("/health/ready")[0] == 200

    def person_partitions(self) -> set[int]:
        """Return the partitions of `commands.person` that it answers for."""
        return {int(number) for number in OPEN.findall(self._ask("/metrics")[1])}

    def kill(self) -> None:
        """Kill it as a power failure would (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        if self._reading is not None:
            self._wait_for(self._reading)

    def stop(self) -> None:
        """Stop it in order (SIGTERM), or kill it when it does not stop."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _wait_for(self, reading: DataFolder) -> None:
        """Wait for the process that reads: the kernel ends it with its parent, a moment later than that."""
        deadline = time.monotonic() + STOP_S
        while not reading.claim() and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        reading.release()

    def _ask(self, path: str) -> tuple[int, str]:
        if self._address is None:
            web = self._logged("web")
            if web is None:
                return 0, ""
            found = urlsplit(web)
            self._address = found.hostname or "", found.port or 0
        connection = HTTPConnection(*self._address, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def _logged(self, address: str) -> str | None:
        """Return an address that the worker logs once it has started."""
        for line in self._log.read_text(errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                return str(json.loads(line)[address])
        return None


class Stage:
    """A context manager: at its end no process is left, and no folder unless it was given."""

    def __init__(self, data_dir: Path | None) -> None:
        """Take the folder to keep everything in; None: a temporary one.

        Raises:
            NotOurFolderError: the folder holds something else.
        """
        self.is_kept = data_dir is not None
        self.folder = Path(tempfile.mkdtemp(prefix="annals-demo-")) if data_dir is None else data_dir.resolve()
        self.memory = recall(self.folder)
        self.settings = load_settings(environment={})
        self.workers: list[WorkerProcess] = []
        self._broker: Broker | None = None

    def start_broker(self, progress: Progress) -> int:
        """Start Kafka, make the topics that are missing, and return how many were.

        Raises:
            BrokerError: it does not start; the message says what to do.
        """
        cache = load_settings().cache_dir
        self._broker = Broker(self.folder / "broker", cache_dir=cache, progress=progress)
        self._broker.start()
        told = {"bootstrap_servers": self._broker.bootstrap, "partitions": str(PARTITIONS)}
        self.settings = load_settings(told, environment={})
        return len(asyncio.run(create(self.settings)))

    def start_workers(self, count: int) -> None:
        """Start workers, and return when each one answers for some partitions of persons, and together for all.

        The last one has the role `read` as well: the first is killed, and a session that ends in silence would be
        waited for by those who ask.

        Raises:
            DifferedError: one ended, or it took too long.
        """
        for number in range(1, count + 1):
            roles = WRITE_AND_READ if number == count else WRITE
            self.workers.append(WorkerProcess(f"worker-{number}", self.settings, self.folder, roles))
        self._until(self._are_all_assigned, "the workers were not ready")

    def _are_all_assigned(self) -> bool:
        if not all(worker.is_ready() for worker in self.workers):
            return False
        owned = [worker.person_partitions() for worker in self.workers]
        return all(owned) and sum(map(len, owned)) == self.settings.partitions == len(set().union(*owned))

    def _until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + READY_S
        while not is_so():
            if time.monotonic() > deadline:
                raise DifferedError(f"{otherwise} within {READY_S:.0f} s; with --data-dir their logs are kept")
            time.sleep(LOOK_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What comes now is short, and must come to its end: a second Ctrl-C would leave things behind.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for worker in self.workers:
                worker.stop() if self.is_kept else worker.kill()
            if self._broker is not None:
                self._broker.stop() if self.is_kept else self._broker.kill()
            if not self.is_kept:
                shutil.rmtree(self.folder)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
