"""A log line that repeats is counted, not repeated: a filter for a handler."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from typing import Final

WINDOW_S: Final = 10.0
OURS: Final = 20  # of the same warning of ours within a window: more than anything but a fault that goes on says
THEIRS: Final = 1  # while the brokers are away, aiokafka says the same a hundred times a second
OWN_PACKAGE: Final = "annals"
MOST_LINES: Final = 1_000  # that are remembered
LONGEST: Final = 200  # characters of a text that tell a line from others
REPEATED: Final = "repeated"
_NUMBERS: Final = re.compile(r"0x[0-9a-fA-F]+|\d+")
_DIFFER_ANYWAY: Final = frozenset({"timestamp", "exception", "exc_info", "stack_info"})

Line = tuple[str, int, str]  # logger, level, text without numbers


class _Said:
    """How often a line came since its window began, and how often it was left out since that was last told."""

    __slots__ = ("count", "left_out", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.left_out = 0


class Repeats(logging.Filter):
    """Lets a warning or error through a few times in ten seconds, a library's once; how many it left out is told later.

    Lines are the same that differ in numbers alone, of ours in those of another partition not. What is less than a
    warning of ours says what happened, and is never left out.
    """

    def __init__(self) -> None:
        """Begin with nothing said."""
        super().__init__()
        self._said: OrderedDict[Line, _Said] = OrderedDict()
        self._is_telling = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written; what was left out before, and does not come again, is told first."""
        is_ours = record.name.partition(".")[0] == OWN_PACKAGE
        if self._is_telling or (is_ours and record.levelno < logging.WARNING):
            return True
        line = (record.name, record.levelno, _text(record))
        said = self._said.get(line) or self._remember(line, record.created)
        if record.created - said.since >= WINDOW_S:
            said.since, said.count = record.created, 0
        said.count += 1
        if said.count > (OURS if is_ours else THEIRS):
            said.left_out += 1
            return False
        if said.left_out:
            _add(record, said.left_out)
            said.left_out = 0
        self._tell(record.created)
        return True

    def _remember(self, line: Line, created: float) -> _Said:
        if len(self._said) >= MOST_LINES:
            self._said.popitem(last=False)
        self._said[line] = said = _Said(created)
        return said

    def _tell(self, now: float) -> None:
        """Say how often a line came that has not come for a while."""
        quiet = [(line, said) for line, said in self._said.items() if said.left_out and now - said.since >= WINDOW_S]
        self._is_telling = True
        try:
            for (logger, level, text), said in quiet:
                logging.getLogger(logger).log(level, "%s (%d more like this were left out)", text, said.left_out)
                said.left_out = 0
        finally:
            self._is_telling = False


def _text(record: logging.LogRecord) -> str:
    """Return what tells a line from others."""
    if not isinstance(record.msg, dict):
        # before its values are put in, and without the numbers that some put in themselves
        return _without_numbers(record.msg)
    # structlog's: the event and its values
    said = {name: value for name, value in record.msg.items() if name not in _DIFFER_ANYWAY}
    rest = [
        f"{name}={value if name == 'partition' else _without_numbers(value)}"
        for name, value in said.items()
        if name not in {"event", "level", "logger"}
    ]
    return " ".join([_without_numbers(said.get("event")), *rest])


def _without_numbers(value: object) -> str:
    return _NUMBERS.sub("#", str(value)[:LONGEST])


def _add(record: logging.LogRecord, number: int) -> None:
    """Say in a record how many like it were left out."""
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, REPEATED: number}
    else:
        record.msg, record.args = f"{record.getMessage()} ({number} more like this were left out)", ()
