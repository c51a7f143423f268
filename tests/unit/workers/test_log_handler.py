"""A log that nobody reads holds nothing up, and whoever reads it later sees how much is missing."""

import contextlib
import logging
import os
import select
import threading
from collections.abc import Iterator

import pytest

from annals.workers import log_handler
from annals.workers.log_handler import LEFT_OUT, LogHandler


class Pipe:
    """A pipe that is written to by a handler, and read when a test says so."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream = os.fdopen(writing, "w")
        self.handler = LogHandler(self.stream)

    def log(self, text: str) -> None:
        self.handler.handle(logging.LogRecord("test", logging.INFO, "", 0, text, (), None))

    def lines(self) -> list[str]:
        """Everything that is in it now."""
        found = bytearray()
        while select.select([self.reading], [], [], 0)[0] and (read := os.read(self.reading, 1 << 16)):
            found += read
        return found.decode().splitlines()

    def fill(self) -> int:
        """Log until there is no room; how many lines there was room for."""
        count = 0
        while select.select([], [self.stream], [], 0)[1]:
            self.log(f"line {count}")
            count += 1
        return count


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()
    with contextlib.suppress(OSError):
        os.close(made.reading)


def test_lines_without_room_are_left_out_and_counted(pipe: Pipe) -> None:
    """Goes red by a test that never ends when a write waits for room."""
    count = pipe.fill()
    for _ in range(7):
        pipe.log("nobody reads this")
    assert pipe.lines()[-1] == f"line {count - 1}"
    pipe.log("somebody reads")
    pipe.log("and goes on")
    assert pipe.lines() == [LEFT_OUT % 7, "somebody reads", "and goes on"]


def test_a_line_that_is_longer_than_the_room_ends_before_the_next_begins(pipe: Pipe) -> None:
    pipe.log("x" * (1 << 20))
    (torn,) = pipe.lines()
    assert set(torn) == {"x"}
    pipe.log("whole")
    assert pipe.lines() == ["", LEFT_OUT % 1, "whole"]


def test_a_reader_that_is_only_slow_gets_the_line(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_handler, "PATIENCE_S", 60.0)
    pipe.fill()
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(pipe.lines()))
    reader.start()
    pipe.log("late")
    reader.join()
    assert [*read, *pipe.lines()][-1] == "late"


def test_a_reader_that_is_gone_is_no_failure(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    os.close(pipe.reading)
    pipe.log("to nobody")
    assert capsys.readouterr().err == ""


def test_what_the_encoding_has_no_character_for_is_escaped() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="ascii") as stream, os.fdopen(reading) as read:
        LogHandler(stream).handle(logging.LogRecord("test", logging.INFO, "", 0, "Ä", (), None))
        assert read.readline() == "\\xc4\n"
