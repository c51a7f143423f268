"""The worker's own folder: made, written and locked before anything is asked of the brokers."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LOCK: Final = "write.lock"  # of the role that decides, in former releases, too
READ_LOCK: Final = "read.lock"


class UnusableFolderError(Exception):
    """The data folder cannot be made, written or locked; the message names the setting and says what to do."""


class DataFolder:
    """One role's claim on a data folder. The lock ends with the process, however that ends."""

    def __init__(self, path: Path, lock: str = LOCK) -> None:
        """Take the folder and the name of the role's lock; nothing is made before `claim`."""
        self._path = path
        self._name = lock
        self._lock: int | None = None

    def claim(self) -> bool:
        """Make the folder, write to it and lock it; return False while another process has the lock.

        Raises:
            UnusableFolderError: it cannot be made, written or locked.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._path / self._name, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                return self._take(lock)
            finally:
                if self._lock != lock:
                    os.close(lock)
        except OSError as error:
            raise UnusableFolderError(
                f"ANNALS_DATA_DIR: {self._path} cannot be used ({error.strerror}). Name a folder on a local disk that "
                f"this user may make and write."
            ) from error

    def _take(self, lock: int) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.truncate(lock, 0)
        if os.pwrite(lock, owner := b"%d\n" % os.getpid(), 0) != len(owner):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(lock)
        self._lock = lock
        return True

    def in_use(self) -> str:
        """Return a sentence for when another process has the lock, with what to do."""
        return (
            f"ANNALS_DATA_DIR: {self._path} is in use by another worker (process {self._owner()}). Give each worker a "
            f"folder of its own, or wait until that one has ended."
        )

    def _owner(self) -> str:
        try:
            return (self._path / self._name).read_text("ascii").strip() or "unknown"
        except (OSError, ValueError):
            return "unknown"

    def release(self) -> None:
        """Give the lock up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
