"""Files that are read again when they changed: what was good last holds until then."""

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
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

LOOK_S: Final = 2.0
LARGEST_BYTES: Final = 4 << 20
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
_logger: Final = structlog.get_logger(__name__)


class Watched(Generic[T]):
    """What files say."""

    def __init__(self, variable: str, paths: Sequence[Path], load: Callable[[], T]) -> None:
        """Load it; `load` raises OSError or ValueError where the files cannot be used, and so does this."""
        self._variable = variable
        self._paths = paths
        self._load = load
        self._mark = self._marks()  # before it is loaded: what changes meanwhile is seen at the next look
        self._value = load()
        self._problem: str | None = None
        self._looked = time.monotonic()
        self._looking = asyncio.Lock()

    @property
    def value(self) -> T:
        """What the files said when they were looked at last."""
        return self._value

    async def refresh(self) -> None:
        """Return when the files were looked at within the last seconds.

        They are read by a thread: to make out what a large one says takes longer than the event loop may be held.
        """
        if self._is_new():
            return
        async with self._looking:  # who comes meanwhile must not be judged by what the files no longer say
            if not self._is_new():
                await asyncio.to_thread(self._look)
                self._looked = time.monotonic()

    def _is_new(self) -> bool:
        return time.monotonic() - self._looked < LOOK_S

    def _look(self) -> None:
        try:
            mark = self._marks()
            if mark == self._mark and self._problem is None:
                return
            self._value = self._load()
        except (OSError, ValueError) as error:
            reason = _reason(error)
            if reason != self._problem:  # told once, however often it is looked at
                _logger.warning(
                    "a file cannot be used; what it said before holds", setting=self._variable, reason=reason
                )
            self._problem = reason
        else:
            self._mark, self._problem = mark, None
            _logger.info("a file was read again", setting=self._variable)

    def _marks(self) -> list[tuple[int, ...]]:
        return [_mark(path.stat()) for path in self._paths]


class WatchedFile(Watched[T]):
    """What a file says that only its owner may write."""

    def __init__(self, variable: str, path: Path, read: Callable[[str], T]) -> None:
        """Read the file; `read` makes of its text what it says, ValueError where it is wrong.

        Raises:
            SettingsError: it cannot be used; the message names the setting, never what is in the file.
        """
        try:
            super().__init__(variable, [path], lambda: read(_owners_text(path)))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{variable}={path}: {_reason(error)}") from None


def _owners_text(path: Path) -> str:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read(LARGEST_BYTES + 1)
    if mode & WRITABLE:
        raise ValueError("others than its owner may write it: chmod go-w")
    if len(text) > LARGEST_BYTES:
        raise ValueError(f"it has more than {LARGEST_BYTES} bytes")
    return text_of(text)


def _mark(status: Any) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
