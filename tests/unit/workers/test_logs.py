"""What a log line may hold: where and why, never what a command or a setting says."""

import json
import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import structlog

from annals.agents.defects import Defect
from annals.agents.writing.batches.batch import Tally
from annals.agents.writing.shard_id import ShardId
from annals.workers.decision_log import DecisionLog
from annals.workers.logs import HARMLESS, PASSING, QUIET, Unremarkable, configure_logs
from annals.workers.repeats import LONGEST, MOST_LINES, OURS, WINDOW_S, Repeats
from annals.workers.settings import Settings


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in (None, *QUIET)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def test_what_a_client_repeats_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json"))
    client, ours = logging.getLogger("aiokafka.client"), structlog.get_logger("annals.workers.watch")
    for port in range(50):
        client.error("Unable connect to node with id %s: %s", 1, port)
        ours.error("the broker does not answer")
    client.error("Heartbeat failed")
    lines = capsys.readouterr().err.splitlines()
    assert sum("Unable connect" in line for line in lines) == 1
    assert sum("Heartbeat failed" in line for line in lines) == 1
    assert sum("does not answer" in line for line in lines) == OURS


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_is_left_out_is_counted_and_told_with_the_next_one(
    log_format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when a line is dropped: an operator sees one where there were a hundred thousand."""
    configure_logs(Settings(log_format=log_format))
    ours, now = structlog.get_logger("annals.agents.writing.shards.shard").bind(kind="person", partition=3), time.time()
    for number in range(500):
        logging.getLogger("asyncio").error("socket.accept() out of system resource\nsocket: <fd=%s>", number)
        ours.warning("shard not open", reason=f"no answer at port {number}")
    capsys.readouterr()
    monkeypatch.setattr(time, "time", lambda: now + WINDOW_S + 1)
    monkeypatch.setattr(time, "time_ns", lambda: int((now + WINDOW_S + 1) * 1e9), raising=False)
    ours.warning("shard not open", reason="no answer at port 1")
    logging.getLogger("asyncio").error("socket.accept() out of system resource\nsocket: <fd=%s>", 7)
    said = capsys.readouterr().err
    assert '"repeated": 480' in said if log_format == "json" else "480" in said
    assert said.count("499 more like this were left out") == 1


def test_what_does_not_come_again_is_told_with_whatever_comes_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs(Settings(log_format="json"))
    now = time.time()
    for number in range(100):
        text = f"Task exception was never retrieved: <Task name='Task-{number}'>"  # put in beforehand, as asyncio does
        logging.getLogger("aiokafka").error(text)
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr(time, "time", lambda: now + WINDOW_S + 1)
    monkeypatch.setattr(time, "time_ns", lambda: int((now + WINDOW_S + 1) * 1e9), raising=False)
    logging.getLogger("aiokafka").error("Heartbeat failed")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    told = "Task exception was never retrieved: <Task name='Task-#'> (99 more like this were left out)"
    assert events == [told, "Heartbeat failed"]


def test_lines_that_say_something_else_and_what_happened_are_not_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json", log_level="debug"))
    ours = structlog.get_logger("annals.agents.writing.shards.shard")
    for partition in range(3 * OURS):
        ours.warning("shard not open", kind="person", partition=partition, reason="waiting")
        ours.info("shard open", kind="person", partition=0, next_command=0)
        ours.debug("command committed", kind="person", partition=0)
    assert len(capsys.readouterr().err.splitlines()) == 9 * OURS


def test_what_is_remembered_of_lines_is_bounded() -> None:
    filter_ = Repeats()
    for number in range(2 * MOST_LINES):
        text = "x" * (number % 150) + chr(0x4E00 + number) * 100_000
        filter_.filter(logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, (), None))
    assert len(filter_._said) == MOST_LINES
    assert max(len(line[2]) for line in filter_._said) == LONGEST


def record(message: str, at: float) -> logging.LogRecord:
    made = logging.LogRecord("aiokafka.consumer.group_coordinator", logging.ERROR, "", 0, message, (), None)
    made.created = at
    return made


def test_what_is_soon_over_is_no_line_and_what_goes_on_is() -> None:
    written, repeats = Unremarkable(), Repeats()
    remarkable = [each for each in (record(PASSING[0], 100.0 + at) for at in range(12)) if written.filter(each)]
    assert [each.created for each in remarkable if repeats.filter(each)] == [105.0]
    # a minute later it is another one
    assert not written.filter(record(PASSING[0], 170.0))
    assert not written.filter(record(HARMLESS[0], 170.0))


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


class Taken(NamedTuple):
    """A record as the consumer delivers it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


PLACE = ShardId("person", "commands.person", 0, 4)  # where p-1 lives
SECRET = "what-nobody-may-read"
COMMAND = {
    "id": "c-1",
    "type": "RegisterPerson",
    "aggregate_id": "p-1",
    "data": {"name": SECRET},
    "correlation_id": "request-7",
}
COPIED = [("origin-partition", b"0"), ("origin-offset", b"3")]
RECORDS = [
    Taken(7, b"p-1", json.dumps(COMMAND).encode(), []),
    Taken(8, b"p-1", f"not json: {SECRET}".encode(), []),
    Taken(9, None, None, []),
    Taken(10, b"p-3", json.dumps(COMMAND | {"aggregate_id": "p-3"}).encode(), COPIED),
]


def logged(level: str, capsys: pytest.CaptureFixture[str], **dead_letters: int) -> list[dict[str, Any]]:
    configure_logs(Settings(log_format="json", log_level=level))
    tally = Tally()
    tally.dead_letters.update(dead_letters)
    tally.dead_lettered += [8, 9, 10] if dead_letters else []
    decisions = DecisionLog(PLACE, 1_000_000)
    decisions.committed(tally, RECORDS if dead_letters else RECORDS[:1])
    decisions.folded({"foreign": 2, "void": 0, "counts": 3}, 17)
    decisions.folded({"counts": 3}, 20)
    said = capsys.readouterr().err
    assert SECRET not in said
    kept = [json.loads(line) for line in said.splitlines()]
    return [{name: line[name] for name in line if name not in {"timestamp", "logger"}} for line in kept]


SHARD = {"kind": "person", "partition": 0}
DOES_NOT_COUNT = {**SHARD, "foreign": 2, "up_to_offset": 17, "event": "records that do not count", "level": "error"}


def test_what_cannot_be_read_is_one_line_with_its_offsets(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = {"not_json": 2, "misrouted": 1}
    found = {**SHARD, "reasons": reasons, "offsets": [8, 9, 10], "more": 0, "event": "dead letters", "level": "warning"}
    assert logged("info", capsys, **reasons) == [found, DOES_NOT_COUNT]


def test_a_command_that_failed_by_a_defect_is_an_error_that_names_the_line_of_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(Settings(log_format="json", log_level="info"))
    tally = Tally()
    tally.defects.append(Defect(7, "OverflowError", "annals.agents.aggregates.policy:178"))
    DecisionLog(PLACE, 1_000_000).committed(tally, RECORDS[:1])
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("command failed by a defect", "error")
    assert (line["offset"], line["error"], line["raised_at"]) == (
        7,
        "OverflowError",
        "annals.agents.aggregates.policy:178",
    )


def test_snapshots_that_were_left_out_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json"))
    tally = Tally()
    tally.oversized += [f"p-{number}" for number in range(22)]
    DecisionLog(PLACE, 1_000_000).committed(tally, RECORDS[:1])
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["level"]) == ("snapshots too large for their topic", "warning")
    assert (line["aggregates"], line["more"]) == ([f"p-{number}" for number in range(20)], 2)


def test_a_batch_that_is_as_it_should_be_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert logged("info", capsys) == [DOES_NOT_COUNT]


def test_at_debug_each_command_is_a_line_with_its_shard_offset_aggregate_and_correlation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    committed, _ = logged("debug", capsys)
    assert committed == {
        **SHARD,
        "offset": 7,
        "aggregate_id": "p-1",
        "command_id": "c-1",
        "type": "RegisterPerson",
        "correlation_id": "request-7",
        "event": "command committed",
        "level": "debug",
    }
