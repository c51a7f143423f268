"""What a log line may hold: where and why, never what a command or a setting says."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from workers.logs import configure_logs
from workers.settings import Settings


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_what_a_client_repeats_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json"))
    client, ours = logging.getLogger("aiokafka.client"), structlog.get_logger("workers.watch")
    for port in range(50):
        client.error("Unable connect to node with id %s: %s", 1, port)
        ours.error("the broker does not answer")
    client.error("Heartbeat failed")
    lines = capsys.readouterr().err.splitlines()
    assert sum("Unable connect" in line for line in lines) == 1
    assert sum("Heartbeat failed" in line for line in lines) == 1
    assert sum("does not answer" in line for line in lines) == 50


def decide(data: str) -> None:
    raise RuntimeError(f"cannot decide {len(data)} characters")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_failures_traceback_shows_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format=log_format))
    secret = "what-nobody-may-read"
    try:
        decide(secret)
    except RuntimeError:
        structlog.get_logger("test").exception("shard failed", partition=3)
    said = capsys.readouterr().err
    assert "cannot decide 20 characters" in said
    assert "in decide" in said or '"decide"' in said
    assert secret not in said
