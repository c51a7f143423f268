"""How deep JSON of strangers nests: beyond a bound it is as unreadable as any other that is wrong.

msgspec and json raise RecursionError, which is no ValueError: where only that is caught, one record would end whoever
reads the topic. And they count the caller's own frames: one who reads a record from further down would refuse what
another has taken, and what was taken could not be written again. So the bound is of the JSON alone.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
V = TypeVar("V")

DEEPEST: Final = 64
"""Levels of arrays and objects of a command, the document's own included."""

MOST_LEVELS: Final = 500  # that a parser which recurses reads, and writes again, wherever it is called from

_STEPS: Final = bytes.maketrans(b"[{]}", b"\x02\x02\x00\x00")
_PAIR: Final = b"\x02\x00"
_RUNS: Final = re.compile(rb"\x02+|\x00+")
_BLOCKS: Final = tuple((width, b"\x02" * width + b"\x00" * width) for width in (32, 16, 8, 4, 2, 1))
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decoded(decode: Callable[[V], T], value: V) -> T:
    """Return what a decoder makes of a value.

    Raises:
        ValueError: the decoder's own, or the value is JSON that is nested too deeply.
    """
    if isinstance(value, bytes) and value.count(b"[") + value.count(b"{") > MOST_LEVELS < nesting(value):
        raise ValueError("it is nested too deeply")
    try:
        return decode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def loaded(value: bytes) -> Any:
    """Return what JSON of strangers says, whose numbers nobody has looked at.

    msgspec takes 7 µs for a number next to zero (1e-320): a mebibyte of them would hold the event loop for a second.

    Raises:
        ValueError: it is no JSON, or is nested too deeply.
    """
    return decoded(orjson.loads, value)


def nesting(value: bytes) -> int:
    """Return how deep the brackets of a JSON document nest; in bytes that are not JSON, no less than a parser sees."""
    return _deepest(_steps(value))


def is_deep(value: bytes) -> bool:
    """Whether a JSON document nests beyond `DEEPEST` levels; bytes that are not JSON, if a parser might see so many.

    Blocks of pairs are taken away, wide ones first: each time all at once, and none is deeper than its brackets are
    wide. Of nearly all documents nothing is left after a few times.
    """
    rest = steps = _steps(value)
    most = 0
    for width, block in _BLOCKS:
        while block in rest and most <= DEEPEST:
            rest = rest.replace(block, b"")
            most += width
    return most + len(rest) > DEEPEST and _deepest(steps) > DEEPEST


def _steps(value: bytes) -> bytes:
    """Return the brackets of a document outside of its strings: one level more as 2, one less as 0."""
    outside_strings = b"".join(value.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    return outside_strings.translate(_STEPS, _NOT_BRACKETS)


def _deepest(steps: bytes) -> int:
    taken = 0
    while 10 * steps.count(_PAIR) > len(steps):  # the innermost pairs are a level: taken away all at once
        steps = steps.replace(_PAIR, b"")
        taken += 1
    levels = (len(run) if run[0] else -len(run) for run in _RUNS.findall(steps))
    return taken + max(accumulate(levels), default=0)
