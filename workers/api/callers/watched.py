"""A file that is read again when it changed: the last good one holds until then."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import structlog

from annals.workers.settings import SettingsError
from annals.workers.settings.files import text_of

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
        self._looking = asyncio.Lock()

    @property
    def value(self) -> T:
        """What the file said when it was looked at last."""
        return self._value

    async def refresh(self) -> None:
        """Return when the file was looked at within the last seconds.

        It is read by a thread: to make out what a large one says takes longer than the event loop may be held.
        """
        if self._is_new():
            return
        async with self._looking:  # who comes meanwhile must not be judged by what the file no longer says
            if not self._is_new():
                await asyncio.to_thread(self._look)
                self._looked = time.monotonic()

    def _is_new(self) -> bool:
        return time.monotonic() - self._looked < LOOK_S

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
        return mark, self._read(text_of(text))


def _mark(status: Any) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
