"""The folders of stores: how large one is, and how a damaged one makes room."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from annals.agents.ports import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAMAGED: Final = "damaged"


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files; one that goes meanwhile, after a compaction, has none."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            with suppress(FileNotFoundError):
                size += file.stat().st_size if file.is_file() else 0
    return size


@contextmanager
def machine(folder: Path) -> Iterator[None]:
    """Tell a folder that cannot be made, moved or removed from a store that is damaged."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(f"{folder}: {error}") from error


async def set_aside(folder: Path) -> None:
    """Make room for another store where a damaged one is, which is closed.

    The last one of each shard is kept for whoever looks into it, as `damaged.<partition>`, if there is room for both.

    Raises:
        StoreUnavailableError: it can be neither moved nor removed.
    """
    with machine(folder):
        await asyncio.to_thread(_set_aside, folder)


def _set_aside(folder: Path) -> None:
    if not folder.exists():
        return
    kept = folder.with_name(f"{DAMAGED}.{folder.name.partition('.')[0]}")
    if kept.exists():
        shutil.rmtree(kept)
    if shutil.disk_usage(folder).free > folder_bytes(folder):
        folder.rename(kept)
    else:
        shutil.rmtree(folder)
