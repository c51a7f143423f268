"""The broker's process, with a small program in the place of Kafka that behaves as badly as it is told."""

import signal
import sys
from pathlib import Path

import pytest

from annals.workers.tools.broker import Broker, BrokerError, java, server
from annals.workers.tools.broker.errors import PortTakenError

READY = "print('Kafka Server started', flush=True)\n"
WAIT = "import signal\nsignal.pause()\n"
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
TAKEN = "print('java.net.BindException: Address already in use')\n"


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker whose Java is `program.py` in its data folder."""
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "meta.properties").touch()
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path}/program.py\n")
    java.chmod(0o755)
    monkeypatch.setattr(server, "kafka_jars", lambda *_: [tmp_path / "kafka.jar"])
    monkeypatch.setattr(server, "java_program", lambda: java)
    return Broker(tmp_path)


def behave(broker: Broker, program: str) -> None:
    (broker.data_dir / "program.py").write_text(program)


def test_it_is_ready_when_its_own_log_says_so_and_keeps_its_port(broker: Broker) -> None:
    behave(broker, READY + WAIT)
    with broker:
        port = broker.port
        assert broker.bootstrap == f"127.0.0.1:{port}"
        assert broker.is_running
    assert not broker.is_running
    assert broker.restart().port == port
    assert (broker.data_dir / "broker.log.1").read_text() == "Kafka Server started\n"
    broker.kill()


def test_one_that_is_never_ready_is_ended_and_its_log_named(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_SECONDS", 0.2)
    behave(broker, WAIT)
    with pytest.raises(BrokerError, match=rf"not ready after 0 seconds; its log is {broker.log_path}"):
        broker.start()
    assert not broker.is_running


def test_one_that_does_not_hear_is_killed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(broker, DEAF + READY + WAIT)
    broker.start()
    process = broker._process
    monkeypatch.setattr(server, "STOP_SECONDS", 0.2)
    broker.stop()
    assert process.returncode == -signal.SIGKILL


def test_a_port_that_was_taken_in_the_meantime_is_tried_again(broker: Broker) -> None:
    attempts = broker.data_dir / "attempts"
    count = f"from pathlib import Path\np = Path({str(attempts)!r})\nn = p.exists() and len(p.read_text())\n"
    count += "p.write_text('x' * (n + 1))\n"
    behave(broker, f"{count}if n < 2:\n    {TAKEN}    raise SystemExit(1)\n{READY}{WAIT}")
    with broker:
        assert attempts.read_text() == "xxx"


def test_a_port_that_is_always_taken_is_an_error_in_the_end(broker: Broker) -> None:
    behave(broker, TAKEN)
    with pytest.raises(PortTakenError, match="--port"):
        broker.start()


def test_one_that_ends_at_once_is_told_with_its_last_words_and_leaves_the_folder_free(broker: Broker) -> None:
    behave(broker, "print('first\\n\\tat java.lang.Thread\\nlast words')\n")
    with pytest.raises(BrokerError, match=r"Kafka ended while it started: first \| last words; its log is"):
        broker.start()
    behave(broker, READY + WAIT)
    with broker:
        assert broker.is_running


def test_one_that_says_nothing_is_an_error_too(broker: Broker) -> None:
    behave(broker, "")
    with pytest.raises(BrokerError, match="it said nothing"):
        broker.start()


def test_one_that_ended_by_itself_can_be_started_again(broker: Broker) -> None:
    behave(broker, READY)
    broker.start()
    assert broker.wait(30)
    behave(broker, READY + WAIT)
    with broker:
        assert broker.is_running


def test_a_folder_that_is_not_formatted_in_time_is_named(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    (broker.data_dir / "kafka" / "meta.properties").unlink()
    monkeypatch.setattr(java, "FORMAT_SECONDS", 0.2)
    behave(broker, WAIT)
    with pytest.raises(BrokerError, match=rf"Kafka cannot use {broker.data_dir}: Java was not done after 0\.2 s"):
        broker.start()
