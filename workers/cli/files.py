"""A FILE that a command reads as it comes, opened without waiting for ever."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

from annals.workers.cli.failures import CannotAskError


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
        error.filename = "standard input" if file == "-" else file
        raise
