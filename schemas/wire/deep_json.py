"""JSON that nests without bound, read without recursion: its grammar checked, its top level taken apart.

A recursive parser would run out of stack, and a record that takes a worker down is taken again by the next one. Runs of
brackets are one step each: a megabyte of them costs milliseconds.
"""

import math
import re
from collections.abc import Callable
from json import JSONDecodeError
from typing import Any, Final, NamedTuple

_SPACES: Final = " \t\n\r"
_SPACE: Final = re.compile(f"[{_SPACES}]*")
_ARRAYS: Final = re.compile(rf"[\[{_SPACES}]*")
_NAME: Final = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
# Not for the document's own object: the names of its members matter.
_CONTAINERS: Final = re.compile(rf"(?:[\[{_SPACES}]+|\{{[{_SPACES}]*{_NAME}[{_SPACES}]*:)*")
_NAMES: Final = re.compile(_NAME)
_CLOSING: Final = re.compile(rf"[\]}}{_SPACES}]*")
_MIRROR: Final = str.maketrans("[{", "]}")
_ONLY_BRACKETS: Final = str.maketrans("", "", _SPACES + ":")

Scan = Callable[[str, int], tuple[Any, int]]
"""Parses the scalar at a position and says where it ends; raises JSONDecodeError (`json.JSONDecoder.raw_decode`)."""


class IntricateError(Exception):
    """The document has more values, runs of brackets aside, than may be gone over one by one."""


class Member(NamedTuple):
    """A member of the document's object: its name, the text of its value, and the levels of the document there."""

    name: str
    text: str
    levels: int


def take_apart(text: str, scan: Scan, most_steps: float = math.inf, *, is_shallow: bool = False) -> list[Member] | None:
    """Return the members of the document's object in their order, or None when the document is no object.

    A step is a value, with the run of brackets before it. is_shallow: it nests no deeper than `scan` may recurse: a
    member's value is then one step, many times faster where it has many values, and its levels are not counted.

    Raises:
        JSONDecodeError: it is not JSON.
        IntricateError: it takes more steps than it may.
    """
    outline = _Outline(text, scan, is_shallow=is_shallow)
    outline.read(most_steps)
    return outline.members if is_object(text) else None


def is_object(text: str) -> bool:
    """Whether a text is an object, if it is JSON."""
    return text.lstrip(_SPACES).startswith("{")


class _Outline:
    """One reading: where it is, which brackets are open, and the member of the top level that it is in."""

    def __init__(self, text: str, scan: Scan, *, is_shallow: bool) -> None:
        self.members: list[Member] = []
        self._text = text
        self._scan = scan
        self._is_shallow = is_shallow
        self._at = 0
        self._open: list[str] = []
        self._member: tuple[str, int] | None = None  # its name, and where its value begins
        self._levels = 0

    def read(self, most_steps: float) -> None:
        """Read the document: values, after each what closes, and a comma if another one is to come."""
        self._pass(_SPACE)
        is_due = True
        steps = 0
        while is_due:
            steps += 1
            if steps > most_steps:
                raise IntricateError
            is_whole = self._is_shallow and bool(self._open)
            opened = "" if is_whole else self._pass(_CONTAINERS if self._open else _ARRAYS)
            self._deepen(opened)
            if not is_whole and self._next() == "{":
                self._at += 1
                self._pass(_SPACE)
                self._deepen("{")
                if self._next() != "}":
                    self._read_name()
                    continue
            elif not (opened and self._next() == "]"):
                self._at = self._scan(self._text, self._at)[1]
            self._close(self._pass(_SPACE) + self._pass(_CLOSING))
            is_due = bool(self._open)
            if is_due:
                self._pass_comma()
        if self._at != len(self._text):
            raise JSONDecodeError("Extra data", self._text, self._at)

    def _deepen(self, brackets: str) -> None:
        self._open += brackets
        self._levels = max(self._levels, len(self._open))

    def _close(self, brackets: str) -> None:
        if brackets:
            if brackets != "".join(reversed(self._open[-len(brackets) :])).translate(_MIRROR):
                raise JSONDecodeError("Expecting another bracket", self._text, self._at)
            del self._open[-len(brackets) :]
        if not self._open:
            self._end_member(len(self._text.rstrip(_SPACES)) - 1)

    def _pass_comma(self) -> None:
        if self._next() != ",":
            raise JSONDecodeError("Expecting ',' delimiter", self._text, self._at)
        if len(self._open) == 1:
            self._end_member(self._at)
        self._at += 1
        self._pass(_SPACE)
        if self._open[-1] == "{":
            self._read_name()

    def _read_name(self) -> None:
        if self._next() != '"':
            raise JSONDecodeError("Expecting property name enclosed in double quotes", self._text, self._at)
        name, self._at = self._scan(self._text, self._at)
        self._pass(_SPACE)
        if self._next() != ":":
            raise JSONDecodeError("Expecting ':' delimiter", self._text, self._at)
        self._at += 1
        self._pass(_SPACE)
        if len(self._open) == 1:
            self._member = (name, self._at)
            self._levels = 1

    def _end_member(self, end: int) -> None:
        if self._member is not None:
            name, begin = self._member
            self.members.append(Member(name, self._text[begin:end].rstrip(_SPACES), self._levels))
            self._member = None

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _pass(self, run: re.Pattern[str]) -> str:
        """Go over a run of characters (perhaps of none) and return its brackets."""
        match = next(run.finditer(self._text, self._at))
        self._at = match.end()
        return _NAMES.sub("", match.group()).translate(_ONLY_BRACKETS) if match.group() else ""
