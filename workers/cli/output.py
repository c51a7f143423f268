"""Standard output and error: lines as bytes, and what becomes of a result that cannot be written.

Exit status 1 says that the answer is no. A result that nobody got, since the disk is full, the reader gone or standard
output closed, is no answer: it is exit status 2, said on standard error unless the reader went of its own accord.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    Written = bytes | bytearray | memoryview

OUT: Final = 1
ERRORS: Final = 2


def counted(number: int, what: str) -> str:
    """Return a number with what is counted, given in the singular: `1 event`, `2 events`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class OutputError(Exception):
    """Standard output takes nothing more; the message says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the result could not be written to standard output: {error.strerror}")
        self.is_reader_gone = error.errno == errno.EPIPE


class _Output(io.FileIO):
    """Standard output, whose failures are told apart from those of everything else."""

    def write(self, data: Written, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from None


class _Errors(io.FileIO):
    """Standard error: where it takes nothing, there is nobody to tell."""

    def write(self, data: Written, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def guard_streams() -> bool:
    """Put guards before standard output and error; False if there is no standard output.

    A descriptor that is closed becomes one that takes everything, lest its number be given to a socket of ours. Streams
    that somebody else put in their place are left alone.
    """
    has_output = sys.stdout is not None
    for number, stream in ((OUT, sys.stdout), (ERRORS, sys.stderr)):
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=True)
                os.close(nowhere)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Output(OUT, "wb", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Errors(ERRORS, "wb", closefd=False), sys.stderr)
    return has_output


def _text(raw: io.FileIO, former: TextIO | None) -> TextIO:
    """Return a stream as Python made the former one; what its encoding has no character for is escaped."""
    encoding = "utf-8" if former is None else former.encoding
    is_error = isinstance(raw, _Errors)
    is_line_buffered = is_error or (former is not None and former.isatty())
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=is_line_buffered
    )


def print_line(line: bytes) -> None:
    """Print a line of UTF-8; it is seen at the next `flush`.

    Raises:
        OutputError: standard output takes nothing more.
    """
    sys.stdout.buffer.write(line + b"\n")


def print_array(items: Iterable[bytes]) -> None:
    """Print texts of JSON as one array in a line; none of them is held until the end.

    Raises:
        OutputError: standard output takes nothing more.
    """
    before = b"["
    for item in items:
        sys.stdout.buffer.write(before + item)
        before = b", "
    sys.stdout.buffer.write(b"[]\n" if before == b"[" else b"]\n")


def flush() -> None:
    """Let what was printed be seen; see `print_line`."""
    sys.stdout.flush()


def is_reader_gone() -> bool:
    """Whether nobody reads standard output any more: who waits for something to print finds out without printing."""
    watching = select.poll()
    watching.register(OUT, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watching.poll(0))


def print_nothing_more() -> None:
    """Let the rest go nowhere, lest the end of the program fails as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, OUT)
    os.close(nowhere)
