"""A FILE that a command reads, whatever it is: opened without waiting for ever, read within bounds."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from annals.workers.cli.failures import CannotAskError

if TYPE_CHECKING:
    from collections.abc import Iterator

DASH: Final = "-"
STANDARD_INPUT: Final = 0
WITHIN_S: Final = 30.0  # for a program at the other end of a pipe: `jq` keeps its first lines back for a while
LARGEST_BYTES: Final = 1 << 20
READ_BYTES: Final = 64 << 10


def source(file: str, what: str, within_s: float | None = None) -> int:
    """Return the descriptor of a file, or of standard input for a dash; see `opened`. what: is to be read, in words."""
    return standard_input(what) if file == DASH else opened(file, WITHIN_S if within_s is None else within_s)


def standard_input(what: str) -> int:
    """Return its descriptor, if there is one that can be read.

    Where it was closed, its number is soon that of a socket of this process: Python looked when it began.

    Raises:
        CannotAskError: there is none.
    """
    if sys.stdin is None or fcntl.fcntl(STANDARD_INPUT, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR) == os.O_WRONLY:
        raise CannotAskError(f"there is no standard input to read {what} from: name a FILE, or use a pipe")
    require_end("standard input", STANDARD_INPUT)
    return STANDARD_INPUT


def whole(file: str, what: str) -> bytes:
    """Return what is in a file, or comes from standard input.

    Raises:
        CannotAskError: as `source`, or it has more than `LARGEST_BYTES`.
        OSError: it cannot be read; the error names the file.
    """
    content = bytearray()
    with _reading(file, what) as descriptor:
        while part := read(file, descriptor, READ_BYTES):
            content += part
            if len(content) > LARGEST_BYTES:
                raise CannotAskError(f"{name_of(file)} is too large: it has more than {LARGEST_BYTES:,} bytes")
    return bytes(content)


def lines(file: str, what: str, longest_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file, or of standard input, without those that are blank.

    Raises:
        CannotAskError: as `source`, or a line has more than so many bytes.
        OSError: it cannot be read; the error names the file.
    """
    from annals.workers.client.lines import LineSplitter

    splitter = LineSplitter(longest_bytes)
    with _reading(file, what) as descriptor:
        part = b"-"
        while part:
            part = read(file, descriptor, READ_BYTES)
            for line in splitter.feed(part):
                if line.text is None:
                    raise CannotAskError(f"{name_of(file)}: line {line.number} has more than {longest_bytes:,} bytes")
                yield line.text


def name_of(file: str) -> str:
    """Return what a file is called where something is said of it."""
    return "standard input" if file == DASH else file


@contextmanager
def _reading(file: str, what: str) -> Iterator[int]:
    descriptor = source(file, what)
    try:
        yield descriptor
    finally:
        if descriptor != STANDARD_INPUT:
            os.close(descriptor)


def opened(file: str, within_s: float) -> int:
    """Return the descriptor of a file, or of a pipe from which something came within so many seconds.

    Raises:
        CannotAskError: it is not there or may not be read; it is a folder, or a device that has no end; or nobody
            writes to the pipe.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise CannotAskError(f"{file} cannot be read: {error.strerror}") from None
    try:
        require_end(file, descriptor)
        _require_news(file, descriptor, within_s)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_end(file: str, descriptor: int) -> None:
    """Refuse what can be read for ever, or not at all; see `opened`."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise CannotAskError(f"{file} cannot be read: it is a folder")
    if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not _ends(descriptor)):
        raise CannotAskError(f"{file} cannot be read: it is a device")


def _require_news(file: str, descriptor: int, within_s: float) -> None:
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if not waiting.poll(within_s * 1000):
        raise CannotAskError(f"{file} is a pipe, and nothing came from it within {within_s:g} s")


def _ends(descriptor: int) -> bool:
    """Whether a character device is a terminal, or the one that is always at its end."""
    return os.isatty(descriptor) or os.fstat(descriptor).st_rdev == Path(os.devnull).stat().st_rdev


def read(file: str, descriptor: int, most_bytes: int) -> bytes:
    """Return what comes next, at most so many bytes; none at the end.

    Raises:
        OSError: it cannot be read; the error names the file.
    """
    try:
        return os.read(descriptor, most_bytes)
    except OSError as error:
        error.filename = name_of(file)
        raise
