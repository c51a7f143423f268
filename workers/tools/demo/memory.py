"""What a kept folder remembers from run to run: how often it was told, the heads and the answers of then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "demo.json"


class NotOurFolderError(Exception):
    """The folder has something else in it; the message says what to do."""


class Memory(msgspec.Struct):
    """What was known at the end of the last run that was told to its end."""

    runs: int = 0
    begun: int = 0
    """The run that was begun last; more than `runs`: it was interrupted, and goes on where it was."""
    heads: dict[str, tuple[int, str]] = {}
    """By aggregate (`person/p-1`): version and CID of its last event."""
    answers: dict[str, str] = {}
    """By command id: the CID of the event that it led to, of the story that is told again."""


def recall(folder: Path) -> Memory:
    """Return what a folder remembers; an empty one remembers nothing, and is a demo's from now on.

    Raises:
        NotOurFolderError: it is not empty and no demo's, or what it remembers cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FILE).exists():
            return msgspec.json.decode((folder / FILE).read_bytes(), type=Memory)
        if any(folder.iterdir()):
            raise NotOurFolderError(f"{folder} is not empty, and no demo's: name another folder with --data-dir")
        remember(folder, Memory())
    except OSError as error:
        raise NotOurFolderError(
            f"{folder} cannot be used ({error.strerror}): name another folder with --data-dir"
        ) from None
    except msgspec.DecodeError as error:
        raise NotOurFolderError(f"{folder / FILE} cannot be read ({error}): delete {folder} and begin anew") from None
    return Memory()


def remember(folder: Path, memory: Memory) -> None:
    """Write it down, whole or not at all."""
    beside = folder / f"{FILE}.new"
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(memory))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / FILE)
