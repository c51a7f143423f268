"""A log handler that never waits for whoever reads standard error.

A pipe that nobody empties (behind a pager that was left, a collector that hangs), or a terminal that was stopped, would
hold the event loop in the middle of a line: no command would be decided, and no stop heard. Lines for which there is no
room are left out, and their number is the first line for which there is room again.

To ask whether there is room is not enough: a terminal says yes where it has room for one character, and of a pipe
another process may take it first. So the handler writes through what it opened itself and never waits; what it was
given is shared with other processes, and stays as it is.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

# For a reader that is only slow: one wait, how long all may be at once, and how much of the time in the long run.
PATIENCE_S: Final = 0.1
BUDGET_S: Final = 0.5
SHARE: Final = 0.1
LEFT_OUT: Final = "%d lines of this log were left out: standard error was not read in time"


class LogHandler(logging.StreamHandler[Any]):
    """Writes each record as a line, or counts it where there is no room."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream. One that is no file of the operating system, as in tests, is written to as it is."""
        super().__init__(stream)
        self._left_out = 0
        self._is_torn = False
        self._patience = Patience(monotonic())
        self._output: _Output | None = None
        self._room = select.poll()
        try:
            self._descriptor = stream.fileno()
            self._output = _output(self._descriptor)
        except (OSError, ValueError):
            return
        self._room.register(self._descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, if there is room for it."""
        if self._output is None:
            super().emit(record)
            return
        try:
            if self._left_out and self._write(self._output, self._line(_how_many(self._left_out))):
                self._left_out = 0
            if self._left_out or not self._write(self._output, self._line(record)):
                self._left_out += 1
        except Exception:  # noqa: BLE001 - as of all of logging's handlers
            self.handleError(record)

    def close(self) -> None:
        """Close what the handler opened. What is logged later goes to the stream, where that has room."""
        self.acquire()
        try:
            if self._output is not None:
                self._output.close()
                self._output = _shared(self._descriptor)
        finally:
            self.release()
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}{self.terminator}".encode(self.stream.encoding or "utf-8", "backslashreplace")

    def _write(self, output: _Output, line: bytes) -> bool:
        """Return whether the whole line was written."""
        whole = rest = b"\n" + line if self._is_torn else line
        while rest and (count := _taken(output, rest) or (self._is_room_soon() and _taken(output, rest))):
            rest = rest[count:]
        self._is_torn = bool(rest) and (self._is_torn or len(rest) < len(whole))
        return not rest

    def _is_room_soon(self) -> bool:
        began = monotonic()
        wait = self._patience.left(began)
        is_room = wait > 0 and bool(self._room.poll(wait * 1000))
        self._patience.spend(monotonic() - began)
        return is_room


class Patience:
    """How long may be waited: what was waited is forgotten as time goes by. All times are in seconds."""

    def __init__(self, now: float) -> None:
        """Begin with nothing waited."""
        self._waited = 0.0
        self._asked = now

    def left(self, now: float) -> float:
        """Return how long a wait that begins now may be."""
        self._waited = max(0.0, self._waited - SHARE * (now - self._asked))
        self._asked = now
        return max(0.0, min(PATIENCE_S, BUDGET_S - self._waited))

    def spend(self, waited: float) -> None:
        """Count a wait."""
        self._waited += waited


class _Output(NamedTuple):
    """Where lines go: `put` returns how many bytes were taken, or raises BlockingIOError where there is no room."""

    put: Callable[[bytes], int]
    close: Callable[[], None]


def _output(descriptor: int) -> _Output:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        own = socket.socket(fileno=os.dup(descriptor))
        return _Output(lambda rest: own.send(rest, socket.MSG_DONTWAIT), own.close)
    if not stat.S_ISFIFO(mode) and not os.isatty(descriptor):
        # a file always has room, and takes a line whole, so that those of other processes lie beside it
        return _Output(partial(os.write, descriptor), _nothing)
    try:
        path = os.ttyname(descriptor) if os.isatty(descriptor) else f"/proc/self/fd/{descriptor}"
        opened = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # another user's, or a system without /proc
        return _shared(descriptor)
    return _Output(partial(os.write, opened), partial(os.close, opened))


def _shared(descriptor: int) -> _Output:
    return _Output(partial(_put_if_room, descriptor), _nothing)


def _put_if_room(descriptor: int, rest: bytes) -> int:
    """Write as much as a pipe with room takes without waiting."""
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    if not room.poll(0):
        raise BlockingIOError
    return os.write(descriptor, rest[: select.PIPE_BUF])


def _nothing() -> None:
    pass


def _taken(output: _Output, rest: bytes) -> int:
    """Return how many bytes are done with; 0: there is no room."""
    try:
        return output.put(rest)
    except BlockingIOError:
        return 0
    except OSError:  # it takes nothing more, and there is nobody to tell
        return len(rest)


def _how_many(left_out: int) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, LEFT_OUT, (left_out,), None)
