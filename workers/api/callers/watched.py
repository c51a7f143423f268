"""Files that only their owner may write, and that are read again when they changed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, TypeVar

from annals.workers.settings import SettingsError
from annals.workers.settings.files import text_of
from annals.workers.settings.watched import Watched, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

LARGEST_BYTES: Final = 4 << 20
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH


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
            raise SettingsError(f"{variable}={path}: {reason_of(error)}") from None


def _owners_text(path: Path) -> str:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read(LARGEST_BYTES + 1)
    if mode & WRITABLE:
        raise ValueError("others than its owner may write it: chmod go-w")
    if len(text) > LARGEST_BYTES:
        raise ValueError(f"it has more than {LARGEST_BYTES} bytes")
    return text_of(text)
