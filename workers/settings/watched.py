"""Files that are read again when they changed: what was good last holds until then."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from annals.workers.settings.model import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

LOOK_S: Final = 2.0


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
                await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Do the same here and now: for small files, where nobody can wait."""
        if not self._is_new():
            self._look()
            self._looked = time.monotonic()

    def _is_new(self) -> bool:
        return time.monotonic() - self._looked < LOOK_S

    def _look(self) -> None:
        try:
            mark = self._marks()
            if mark == self._mark and self._problem is None:
                return
            self._value = self._load()
        except (OSError, ValueError, SettingsError) as error:
            reason = reason_of(error)
            if reason != self._problem:  # told once, however often it is looked at
                _log().warning(
                    "a file cannot be used; what it said before holds", setting=self._variable, reason=reason
                )
            self._problem = reason
        else:
            self._mark, self._problem = mark, None
            _log().info("a file was read again", setting=self._variable)

    def _marks(self) -> list[tuple[int, ...]]:
        return [_mark(path.stat()) for path in self._paths]


def _log() -> Any:
    import structlog  # noqa: PLC0415 - who sends commands starts without it, which takes 0.1 s

    return structlog.get_logger(__name__)


def _mark(status: Any) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


def reason_of(error: Exception) -> str:
    """Return why a file cannot be used, without where it is and what is in it."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
