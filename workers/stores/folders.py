"""How large a store is on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files; one that goes meanwhile, after a compaction, has none."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            with suppress(FileNotFoundError):
                size += file.stat().st_size if file.is_file() else 0
    return size
