"""A log handler that never waits for whoever reads standard error.

A pipe that nobody empties (behind a pager that was left, a collector that hangs), or a terminal that was stopped, would
hold the event loop in the middle of a line: no command would be decided, and no stop heard. Lines for which there is no
room are left out, and their number is the first line for which there is room again.
"""

from __future__ import annotations

import logging
import os
import select
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import TextIO

PATIENCE_S: Final = 0.1  # for a reader that is only slow
PATIENT_EVERY_S: Final = 10.0
LEFT_OUT: Final = "%d lines of this log were left out: nobody read standard error"


class LogHandler(logging.StreamHandler[Any]):
    """Writes each record as a line, or counts it where there is no room."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream. One that is no file of the operating system, as in tests, is written to as it is."""
        super().__init__(stream)
        self._left_out = 0
        self._is_torn = False
        self._patient_from = 0.0
        self._room: select.poll | None = None
        try:
            self._descriptor = stream.fileno()
        except (OSError, ValueError):
            return
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, if there is room for it."""
        if self._room is None:
            super().emit(record)
            return
        try:
            line = self._line(record)
            if self._left_out:
                line = self._line(_how_many(self._left_out)) + line
            is_written = self._write(self._room, b"\n" + line if self._is_torn else line)
            self._left_out = 0 if is_written else self._left_out + 1
        except Exception:  # noqa: BLE001 - as of all of logging's handlers
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}{self.terminator}".encode(self.stream.encoding or "utf-8", "backslashreplace")

    def _write(self, room: select.poll, line: bytes) -> bool:
        """Return whether the whole line was written."""
        rest = line
        while rest and (count := self._piece(room, rest)):
            rest = rest[count:]
        self._is_torn = bool(rest) and (self._is_torn or len(rest) < len(line))
        return not rest

    def _piece(self, room: select.poll, rest: bytes) -> int:
        """Write as much as a pipe with room takes without waiting; return how many bytes are done with."""
        if not self._has_room(room):
            return 0
        try:
            return os.write(self._descriptor, rest[: select.PIPE_BUF])
        except BlockingIOError:  # whoever shares the file has it not wait
            return 0
        except OSError:  # it takes nothing more, and there is nobody to tell
            return len(rest)

    def _has_room(self, room: select.poll) -> bool:
        if room.poll(0):
            return True
        now = monotonic()
        if now < self._patient_from:
            return False
        self._patient_from = now + PATIENT_EVERY_S
        return bool(room.poll(PATIENCE_S * 1000))


def _how_many(left_out: int) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, LEFT_OUT, (left_out,), None)
