"""What work costs on the event loop: a budget of the processor's time, on a machine that may be slow just now."""

from __future__ import annotations

import gc
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUDGET_S = 0.1
MEGABYTE = 999_000

# Items of which a megabyte is made: well, and not; shallow, and not.
UNITS = (
    "{}",
    "[]",
    '""',
    "1",
    "1.5",
    "1e-320",
    "9e307",
    "null",
    '"a"',
    '{"a":1}',
    "[[[[[[[[1]]]]]]]]",
    '{"kind":"person","id":"p"}',
)
FLAWED = ("-0.0", "1e400", "18446744073709551616", '"\\ud800"', '{"$a":1}', '{"a":1,"a":1}')

# Texts that a pattern could go back and forth over.
TEXTS = (
    " " * 990_000,
    "a" * 990_000,
    "a " * 495_000,
    "a@" * 495_000,
    "a." * 495_000,
    "a-" * 495_000,
    "-" * 990_000,
    "1" * 990_000,
    "https://" + "a" * 980_000,
    "https://a/" + "%41" * 320_000 + " ",
    "2026-01-01T00:00:00." + "0" * 980_000 + "Z",
    "a@" + "a." * 490_000,
    "en" + "-aaaaa" * 160_000,
    "b" + "a" * 980_000,
    "é" * 490_000,
    "e\u0301" * 300_000,
    "\U0001f600" * 240_000,
)


@contextmanager
def collected_as_in_a_worker() -> Iterator[None]:
    """The collector as a worker sets it."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def slowness_now() -> float:
    """How many times longer than usual this machine takes, from one up."""
    flat, deep = many("{}"), many("[[[[[[[[1]]]]]]]]")
    decoding = min(cpu_s(lambda: msgspec.json.decode(flat)) for _ in range(3))
    walking = min(cpu_s(lambda: _walk(msgspec.json.decode(deep))) for _ in range(3))
    return max(1.0, decoding / 0.015, walking / 0.075)


def _walk(document: Any) -> None:
    """Visit every value, as reading a command does: many small objects, all over the memory."""
    left = [document]
    while left:
        value = left.pop()
        if type(value) is list:
            left.extend(value)


def cpu_s(work: Any) -> float:
    """Measure work without what looks on: tracing for coverage takes several times as long as the work itself."""
    tracing = sys.gettrace()
    sys.settrace(None)
    try:
        started = time.thread_time()
        work()
        return time.thread_time() - started
    finally:
        sys.settrace(tracing)


def many(unit: str, size: int = MEGABYTE) -> bytes:
    return b"[" + b",".join([unit.encode()] * ((size - 500) // (len(unit.encode()) + 1))) + b"]"


def names(pattern: str, size: int = MEGABYTE) -> bytes:
    entries = [b'"%b":1' % (pattern % number).encode() for number in range((size - 500) // (len(pattern) + 9))]
    return b"{" + b",".join(entries) + b"}"


def quoted(text: str) -> bytes:
    return b'"' + text.encode() + b'"'


def costs_little(work: Callable[[], Any], slowness: float, what: str) -> Any:
    """Hold work to the budget; return what it returns. slowness: of this machine; what: in the message."""
    found: list[Any] = []
    took = []
    for attempt in range(6):
        took.append(cpu_s(lambda: found.append(work())))
        # others may have come to use this machine since it was measured
        if took[-1] <= BUDGET_S * (slowness if attempt < 3 else slowness_now()):
            return found[0]
    raise AssertionError(f"{min(took):.3f} s for {what}, {found[0]!r}"[:500])
