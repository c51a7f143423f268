"""The broker's process: prepared, started, known to be ready, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from annals.workers.settings import default_cache_dir
from annals.workers.tools.broker.class_archive import archive_options
from annals.workers.tools.broker.errors import BrokerError, PortTakenError
from annals.workers.tools.broker.jars import Progress, kafka_jars, silent
from annals.workers.tools.broker.java import JVM_OPTIONS, QUICK_COMPILER, format_folder, java_program, last_words, spawn
from annals.workers.tools.broker.ports import find_ports, port_taken
from annals.workers.tools.broker.properties import HOST, Ports, as_properties_file, broker_properties

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY: Final = "Kafka Server started"
START_SECONDS = 180.0  # it takes 3 to 5 on an idle machine
STOP_SECONDS = 30.0  # it takes less than 1
LOOK_SECONDS: Final = 0.02
ATTEMPTS: Final = 3  # of finding free ports: another process may be faster


class Broker:
    """One broker and its data folder. A context manager, with `async with` too; can be started again after it ended.

    `port` is where it listens (0: a free one, kept for the next start), `advertised_port` where it tells clients to
    connect (a proxy in front of it; by default the same). With a `cluster_id` it is one node of that cluster: then
    `properties` say which one, where it listens and who the others are.
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int = 0,
        advertised_port: int | None = None,
        *,
        cache_dir: Path | None = None,
        heap_mb: int = 384,
        properties: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        features: Mapping[str, int] | None = None,
        progress: Progress = silent,
        is_for_long: bool = False,
        java_options: Sequence[str] = (),
    ) -> None:
        """Prepare nothing yet: `start` does.

        features: levels of Kafka's features, as `transaction.version`, for a new data folder; else the release's own.
        is_for_long: Java compiles with all it has, as for a broker that runs for months: that is faster after some
        minutes, and slower until then. java_options: more of the broker's own process.
        """
        self.data_dir = Path(data_dir).resolve()
        self.log_path = self.data_dir / "broker.log"
        self._wanted_port = port
        self._advertised_port = advertised_port
        self._cache_dir = cache_dir or default_cache_dir()
        self._heap_mb = heap_mb
        self._properties = dict(properties or {})
        self._cluster_id = cluster_id
        self._features = dict(features or {})
        self._progress = progress
        self._compilers = () if is_for_long else (QUICK_COMPILER,)
        self._java_options = tuple(java_options)
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: Ports | None = None
        self._lock: BinaryIO | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; only known once it was started."""
        if self._ports is None:
            raise BrokerError("the broker was not started, so it has no port yet")
        return self._ports.client

    @property
    def bootstrap(self) -> str:
        """What clients connect to: `127.0.0.1:<port>`."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        if self._process is None or self._process.poll() is not None:
            raise BrokerError("the broker is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and return when it is ready; BrokerError says why it is not, and what to do."""
        if self.is_running:
            return self
        self._end(signal.SIGKILL)  # One that ended by itself still holds its folder.
        fixed = self._ports.client if self._ports else self._wanted_port
        jars = kafka_jars(self._cache_dir, self._progress)
        java = java_program()
        with contextlib.ExitStack() as on_failure:
            self._lock = on_failure.enter_context(self._locked_folder())
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self._start(java, jars, fixed)
                    break
                except PortTakenError:
                    if attempt == ATTEMPTS:
                        raise
            on_failure.pop_all()
        return self

    def stop(self) -> None:
        """Stop it in order: what is in its hands is written and its files are closed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a power failure would, and return when it is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the same port with the same data."""
        self.stop()
        return self.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the process has ended by itself; False if it has not after so many seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _locked_folder(self) -> BinaryIO:
        """Make the data folder ours: a second broker in it would take the first one's log, and worse."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = (self.data_dir / "lock").open("wb")
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise BrokerError(
                f"another broker uses {self.data_dir}: stop it first, or name another folder with --data-dir"
            ) from None
        return lock

    def _unwritable(self, error: OSError) -> BrokerError:
        return BrokerError(
            f"the data folder {self.data_dir} cannot be written to ({error.strerror}): name another one with --data-dir"
        )

    def _start(self, java: Path, jars: list[Path], fixed: int) -> None:
        ports = find_ports(fixed, self._advertised_port)
        class_path = os.pathsep.join(map(str, jars))
        config = self._write_config(ports)
        shared = archive_options(jars)
        if not (self.data_dir / "kafka" / "meta.properties").exists():
            format_folder(java, class_path, config, self._cluster_id, self._features, shared)
        if self.log_path.exists():
            # What the last run said is worth one more look after a crash.
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        options = (f"-Xmx{self._heap_mb}m", *self._compilers, *shared, *JVM_OPTIONS, *self._java_options)
        command = [str(java), *options, "-cp", class_path, "kafka.Kafka", str(config)]
        process = spawn(command, self.log_path)
        try:
            self._await_ready(process, ports)
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._process, self._ports = process, ports

    def _write_config(self, ports: Ports) -> Path:
        config = self.data_dir / "broker.properties"
        properties = as_properties_file(broker_properties(self.data_dir / "kafka", ports, self._properties))
        try:
            config.write_text(properties)
        except OSError as error:  # a full disk has room for a lock, which is empty
            raise self._unwritable(error) from None
        return config

    def _await_ready(self, process: subprocess.Popen[bytes], ports: Ports) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            # Only its own log tells: a port that answers may be another broker's.
            ended = process.poll() is not None
            log = self.log_path.read_bytes()
            if READY.encode() in log:
                return
            if ended:
                raise self._failure(log, ports)
            time.sleep(LOOK_SECONDS)
        raise BrokerError(f"Kafka was not ready after {START_SECONDS:.0f} seconds; its log is {self.log_path}")

    def _failure(self, log: bytes, ports: Ports) -> BrokerError:
        if b"Address already in use" in log:
            return port_taken(ports.client)
        return BrokerError(f"Kafka ended while it started: {last_words(log)}; its log is {self.log_path}")

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(how)
        if how is signal.SIGTERM:
            # One that is stopped (SIGSTOP) hears nothing else.
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None
        if self._lock is not None:
            self._lock.close()
