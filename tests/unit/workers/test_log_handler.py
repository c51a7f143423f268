"""A log that nobody reads holds nothing up, and whoever reads it later sees how much is missing."""

import contextlib
import logging
import os
import pty
import select
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from annals.workers import log_handler
from annals.workers.log_handler import LEFT_OUT, LogHandler, Patience

BOUND_S = 20
PAGES = 4096


def said(handler: LogHandler, text: str) -> None:
    handler.handle(logging.LogRecord("test", logging.INFO, "", 0, text, (), None))


def repeat(handler: LogHandler, size: int, times: int) -> None:
    for _ in range(times):
        said(handler, "x" * size)


def is_over(*jobs: Callable[[], None]) -> bool:
    """Whether each of these ends; one that does not is left behind in its thread."""
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    return not any(thread.is_alive() for thread in threads)


class Pipe:
    """A pipe that is written to by a handler, and read when a test says so."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream = os.fdopen(writing, "w")
        self.handler = LogHandler(self.stream)

    def log(self, text: str) -> None:
        said(self.handler, text)

    def lines(self) -> list[str]:
        """Everything that is in it now."""
        found = bytearray()
        while select.select([self.reading], [], [], 0)[0] and (read := os.read(self.reading, 1 << 16)):
            found += read
        return found.decode().splitlines()

    def fill(self) -> int:
        """Log until a line is left out; how many lines there was room for."""
        count = 0
        while not self.handler._left_out:
            self.log(f"line {count}")
            count += 1
        return count - 1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.handler.close()
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
    assert pipe.lines() == [LEFT_OUT % 8, "somebody reads", "and goes on"]


def test_a_line_that_is_longer_than_the_room_ends_before_the_next_begins(pipe: Pipe) -> None:
    pipe.log("x" * (1 << 20))
    (torn,) = pipe.lines()
    assert set(torn) == {"x"}
    pipe.log("whole")
    assert pipe.lines() == ["", LEFT_OUT % 1, "whole"]


def test_a_reader_that_is_only_slow_gets_every_line(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when one wait uses up the patience of the next seconds."""
    monkeypatch.setattr(log_handler, "BUDGET_S", 60.0)
    read: list[str] = []
    for number in range(3):
        monkeypatch.setattr(log_handler, "PATIENCE_S", 0.0)
        pipe.fill()
        monkeypatch.setattr(log_handler, "PATIENCE_S", 60.0)
        reader = threading.Thread(target=lambda: read.extend(pipe.lines()))
        reader.start()
        pipe.log(f"late {number}")
        reader.join()
    read += pipe.lines()
    assert [line for line in read if line.startswith("late ")] == ["late 0", "late 1", "late 2"]


def test_whoever_never_reads_is_waited_for_in_a_tenth_of_the_time_at_most() -> None:
    patience, now, waited = Patience(0.0), 0.0, 0.0
    while now < 60.0:
        wait = patience.left(now)
        assert 0 <= wait <= log_handler.PATIENCE_S
        patience.spend(wait)
        now, waited = now + wait + 0.001, waited + wait
    assert log_handler.BUDGET_S < waited <= log_handler.BUDGET_S + 60.2 * log_handler.SHARE


def test_left_out_lines_are_told_once_where_there_is_room_for_their_number_and_not_for_the_line(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_handler, "PATIENCE_S", 0.0)
    pipe.fill()
    for _ in range(4):
        pipe.log("nobody reads this")
    os.read(pipe.reading, 3 * PAGES)
    pipe.log("x" * 5 * PAGES)
    lines = pipe.lines()
    pipe.log("whole")
    lines += pipe.lines()
    assert [line for line in lines if "left out" in line] == [LEFT_OUT % 5, LEFT_OUT % 1]
    assert lines[-1] == "whole"


@pytest.mark.parametrize("size", [1, 100, 1000, 2999, 8000])
def test_a_terminal_that_shows_nothing_holds_nothing_up(size: int) -> None:
    """A terminal says that it has room where it has room for one character."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream, os.fdopen(master):
        handler = LogHandler(stream)
        assert is_over(partial(repeat, handler, size, 10 + 20_000 // size))
        assert os.get_blocking(slave)
        handler.close()


def test_two_that_write_to_one_pipe_do_not_wait_for_the_room_that_the_other_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goes red in some of the rounds when it is asked whether there is room, and then written by a call that waits."""
    monkeypatch.setattr(log_handler, "PATIENCE_S", 0.0)
    for _ in range(200):
        first = Pipe()
        second = LogHandler(first.stream)
        start = threading.Barrier(2)

        def log(handler: LogHandler, start: threading.Barrier = start) -> None:
            start.wait()
            repeat(handler, 4000, 40)

        over = is_over(partial(log, first.handler), partial(log, second))
        os.close(first.reading)
        assert over
        first.handler.close()
        second.close()
        first.stream.close()


def test_a_socket_that_nobody_reads_holds_nothing_up() -> None:
    here, there = socket.socketpair()
    with there, os.fdopen(here.detach(), "w") as stream:
        handler = LogHandler(stream)
        assert is_over(partial(repeat, handler, 3000, 500))
        assert os.get_blocking(stream.fileno())
        there.settimeout(0.0)
        with contextlib.suppress(BlockingIOError):
            while there.recv(1 << 16):
                pass
        said(handler, "somebody reads")
        assert b"lines of this log were left out" in there.recv(1 << 16)
        handler.close()


def test_a_line_is_one_write_to_a_file_that_others_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when the halves of two processes' tracebacks lie one in the other."""
    writes: list[int] = []
    write = os.write

    def count(descriptor: int, data: bytes) -> int:
        writes.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", count)
    with (tmp_path / "log").open("w") as stream:
        handler = LogHandler(stream)
        said(handler, "x" * 3 * PAGES)
        handler.close()
    assert writes == [3 * PAGES + 1]


def test_what_a_handler_opened_it_closes_and_the_stream_it_leaves(pipe: Pipe) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for end in (os.pipe(), pty.openpty(), [each.detach() for each in socket.socketpair()]):
        with os.fdopen(end[0]), os.fdopen(end[1], "w") as stream:
            handler = LogHandler(stream)
            handler.close()
            handler.close()
            os.fstat(stream.fileno())
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_reader_that_is_gone_is_no_failure(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    os.close(pipe.reading)
    pipe.log("to nobody")
    assert capsys.readouterr().err == ""


def test_what_the_encoding_has_no_character_for_is_escaped() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="ascii") as stream, os.fdopen(reading) as read:
        handler = LogHandler(stream)
        said(handler, "Ä")
        assert read.readline() == "\\xc4\n"
        handler.close()


def test_where_nothing_can_be_opened_anew_a_pipe_is_asked_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's pipe, as after `su`: what is shared stays as it is, and the handler looks before it writes."""

    def refused(path: str, flags: int) -> int:
        raise PermissionError(path, flags)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refused)
        pipe = Pipe()
    assert is_over(partial(repeat, pipe.handler, 1000, 100))
    assert os.get_blocking(pipe.stream.fileno())
    told = LEFT_OUT % (100 - len(pipe.lines()))
    pipe.log("somebody reads")
    assert pipe.lines() == [told, "somebody reads"]
    pipe.stream.close()
    os.close(pipe.reading)


def test_a_closed_handler_holds_nothing_up_either(pipe: Pipe) -> None:
    """Logging closes its handlers before the interpreter says its last."""
    pipe.handler.close()
    assert is_over(partial(repeat, pipe.handler, 1000, 100))
    pipe.lines()
