"""The broker of our own as a process: started, killed, restarted, ended with whoever started it."""

import asyncio
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from annals.workers.tools.broker import Broker, BrokerError
from annals.workers.tools.broker.errors import PortTakenError
from full_disk import full_beyond
from processes import BACK_SOON

pytestmark = pytest.mark.broker

ANNALS = Path(sys.executable).with_name("annals")
WITHIN_S = 300.0


def until(is_so: Callable[[], object], what: str) -> None:
    """Look until it is so; the deadline only ends a test that has failed."""
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s: {what}"
        os.sched_yield()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def jvm_of(pid: int) -> int:
    (java,) = [each.pid for each in psutil.Process(pid).children() if each.name() == "java"]
    return java


async def write(bootstrap: str, topic: str, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-writer")
    async with producer, producer.transaction():
        await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, isolation_level="read_committed", enable_auto_commit=False
    )
    async with consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        async with asyncio.timeout(WITHIN_S):
            return (await consumer.getone()).value


@contextmanager
def annals_broker(*arguments: str, stderr: int = subprocess.PIPE) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`annals broker` as a process that is ready, and its address; killed whatever happens."""
    command = [ANNALS, "broker", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("ready 127.0.0.1:"), line
            yield process, line.split()[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Broker]:
    """One broker for the tests that start and end it again and again: its first start is the slow one."""
    with Broker(tmp_path_factory.mktemp("kept"), cache_dir=cache_dir, properties=BACK_SOON) as broker:
        yield broker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for the tests of the command, one after the other: a new one takes two seconds to format."""
    return tmp_path_factory.mktemp("folder")


def test_what_was_committed_survives_a_stop_and_a_kill(kept: Broker) -> None:
    kept.start()
    address, first = kept.bootstrap, kept.pid
    asyncio.run(write(address, "survives", b"a fact"))
    kept.stop()
    assert not kept.is_running
    kept.start()
    assert (kept.bootstrap, asyncio.run(read(address, "survives"))) == (address, b"a fact")
    kept.kill()
    kept.start()
    assert asyncio.run(read(kept.bootstrap, "survives")) == b"a fact"
    kept.restart()
    assert asyncio.run(read(kept.bootstrap, "survives")) == b"a fact"
    assert kept.bootstrap == address
    assert is_gone(first)


def test_one_that_is_for_long_is_compiled_by_both_compilers(
    kept: Broker, tmp_path: Path, cache_dir: Path | None
) -> None:
    kept.start()
    quick = set(psutil.Process(kept.pid).cmdline())
    with Broker(tmp_path, cache_dir=cache_dir, is_for_long=True) as broker:
        asyncio.run(write(broker.bootstrap, "works", b"a fact"))
        both = set(psutil.Process(broker.pid).cmdline())
    assert {option for option in quick - both if option.startswith("-X")} == {"-XX:TieredStopAtLevel=1"}


def test_starting_one_that_runs_and_stopping_one_that_does_not_change_nothing(kept: Broker) -> None:
    pid = kept.start().pid
    assert kept.start().pid == pid
    assert not kept.wait(0)
    kept.stop()
    kept.stop()
    kept.kill()
    assert kept.wait()
    with pytest.raises(BrokerError, match="not running"):
        _ = kept.pid


def test_a_broker_that_is_frozen_can_be_stopped(kept: Broker) -> None:
    pid = kept.start().pid
    os.kill(pid, signal.SIGSTOP)
    kept.stop()
    assert is_gone(pid)


def test_topics_are_not_made_by_a_mistyped_name(kept: Broker) -> None:
    kept.start()

    async def mistype() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kept.bootstrap)
        await admin.start()
        try:
            await admin.describe_topics(["mistyped"])
            return await admin.list_topics()
        finally:
            await admin.close()

    assert "mistyped" not in asyncio.run(mistype())


async def test_it_is_an_asynchronous_context_manager_and_outlives_the_thread_that_started_it(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    asyncio.get_running_loop().slow_callback_duration = 10
    broker = Broker(tmp_path, cache_dir=cache_dir)
    async with broker:
        pid = broker.pid
        # The kernel ends a process with the thread that started it, if asked carelessly: this one is gone now.
        await asyncio.get_running_loop().shutdown_default_executor()
        await write(broker.bootstrap, "outlives", b"x")
        assert broker.pid == pid
        loop: Any = asyncio.get_running_loop()
        loop._default_executor = None
        loop._executor_shutdown_called = False
    assert is_gone(pid)


def test_clients_are_told_the_advertised_port_and_transactions_do_not_pass_through_it(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        advertised = proxy.getsockname()[1]
        with Broker(tmp_path, advertised_port=advertised, cache_dir=cache_dir) as broker:
            assert broker.port != advertised

            async def told() -> list[tuple[str, int]]:
                admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
                await admin.start()
                try:
                    return [(each.host, each.port) for each in admin._client.cluster.brokers()]
                finally:
                    await admin.close()

            assert asyncio.run(told()) == [("127.0.0.1", advertised)]
            proxy.settimeout(0)
            with pytest.raises(BlockingIOError):
                # The broker writes markers to itself; nobody but clients may come this way.
                proxy.accept()


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path, cache_dir: Path | None) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"port {port} is taken .* --port"):
            Broker(tmp_path, port, cache_dir=cache_dir).start()


def test_a_folder_that_another_broker_uses_is_named(kept: Broker, cache_dir: Path | None) -> None:
    kept.start()
    with pytest.raises(BrokerError, match=rf"another broker uses {kept.data_dir}"):
        Broker(kept.data_dir, cache_dir=cache_dir).start()
    assert kept.is_running


def test_a_data_folder_that_cannot_be_one_is_named(tmp_path: Path, cache_dir: Path | None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"file cannot be written to \(.*\): name another one with --data-dir"):
        Broker(tmp_path / "file", cache_dir=cache_dir).start()


def test_a_data_folder_on_a_full_disk_is_named(tmp_path: Path, cache_dir: Path | None) -> None:
    said = rf"the data folder {tmp_path} cannot be written to \(.*\): name another one with --data-dir"
    with full_beyond(0), pytest.raises(BrokerError, match=said):
        Broker(tmp_path, cache_dir=cache_dir).start()


def test_a_data_folder_that_kafka_cannot_read_is_named_with_its_words(tmp_path: Path, cache_dir: Path | None) -> None:
    (tmp_path / "kafka").touch()
    with pytest.raises(BrokerError, match=f"Kafka cannot use {tmp_path}: "):
        Broker(tmp_path, cache_dir=cache_dir).start()


def test_a_broker_that_was_never_started_has_no_port(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="has no port yet"):
        _ = Broker(tmp_path).bootstrap
    assert Broker(tmp_path).wait()


def test_a_broker_that_ends_while_it_starts_says_its_last_words(tmp_path: Path, cache_dir: Path | None) -> None:
    broker = Broker(tmp_path, cache_dir=cache_dir, properties={"num.io.threads": "-7"})
    with pytest.raises(BrokerError, match=r"num\.io\.threads"):
        broker.start()
    assert not broker.is_running


def test_the_command_says_ready_and_stops_cleanly_at_a_signal(folder: Path) -> None:
    with annals_broker("--port", "0", "--data-dir", str(folder)) as (process, bootstrap):
        java = jvm_of(process.pid)
        asyncio.run(write(bootstrap, "told", b"a fact"))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, output, errors) == (0, "", "")
        assert is_gone(java)
    assert "Kafka Server started" in (folder / "broker.log").read_text()


def test_on_a_terminal_the_command_says_where_its_data_is_and_stops_at_ctrl_c(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with annals_broker("--port", "0", "--data-dir", str(folder), stderr=theirs) as (process, _):
        os.close(theirs)
        said = b""
        while b"Ctrl-C stops it" not in said:
            said += os.read(ours, 1024)
        assert f"data in {folder}".encode() in said
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0
    os.close(ours)


def test_the_jvm_ends_with_a_command_that_is_killed(folder: Path) -> None:
    with annals_broker("--port", "0", "--data-dir", str(folder)) as (process, _):
        java = jvm_of(process.pid)
        process.kill()
        process.wait()
        until(lambda: is_gone(java), "the JVM is gone")


def test_the_command_ends_with_its_parent(folder: Path) -> None:
    command = [str(ANNALS), "broker", "--port", "0", "--data-dir", str(folder)]
    script = f"import subprocess; subprocess.run({command!r})"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline().startswith("ready ")
        (child,) = psutil.Process(parent.pid).children()
        java = jvm_of(child.pid)
        parent.kill()
        parent.wait()
        until(lambda: is_gone(child.pid) and is_gone(java), "command and JVM are gone")


def test_the_command_says_when_kafka_ends_by_itself(folder: Path) -> None:
    with annals_broker("--port", "0", "--data-dir", str(folder)) as (process, _):
        os.kill(jvm_of(process.pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 2
        assert errors == f"annals: Kafka ended by itself; its log is {folder / 'broker.log'}\n"


def test_the_commands_failures_are_one_line_and_exit_status_2(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [ANNALS, "broker", "--port", str(port), "--data-dir", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"annals: port {port} is taken")
    assert len(result.stderr.splitlines()) == 1
