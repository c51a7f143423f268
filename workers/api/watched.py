"""A file that is read again when it changed: the last good one holds until then."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import structlog

from annals.workers.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

LOOK_S: Final = 2.0
LARGEST_BYTES: Final = 4 << 20
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
_logger: Final = structlog.get_logger(__name__)


class WatchedFile(Generic[T]):
    """What a file says."""

    def __init__(self, variable: str, path: Path, read: Callable[[str], T]) -> None:
        """Read the file; `read` makes of its text what it says, ValueError where it is wrong.

        Raises:
            SettingsError: it cannot be used; the message names the setting, never what is in the file.
        """
        self._variable = variable
        self._path = path
        self._read = read
        try:
            self._mark, self._value = self._load()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{variable}={path}: {_reason(error)}") from None
        self._looked = time.monotonic()

    @property
    def value(self) -> T:
        """What the file says, as it was at most some seconds ago."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            if _mark(self._path.stat()) == self._mark:
                return
            self._mark, self._value = self._load()
        except (OSError, ValueError) as error:
            _logger.warning(
                "a file cannot be used; what it said before holds", setting=self._variable, reason=_reason(error)
            )
        else:
            _logger.info("a file was read again", setting=self._variable)

    def _load(self) -> tuple[Any, T]:
        with self._path.open("rb") as file:
            mark = _mark(os.fstat(file.fileno()))
            text = file.read(LARGEST_BYTES + 1)
        if mark[-1] & WRITABLE:
            raise ValueError("others than its owner may write it: chmod go-w")
        if len(text) > LARGEST_BYTES:
            raise ValueError(f"it has more than {LARGEST_BYTES} bytes")
        return mark, self._read(text.decode())


def _mark(status: Any) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
