"""Errors of the operating system that name their file: those of writing do not, as where a disk is full."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Have an OSError that names no file name this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
