"""Reading stores that outlive the shards that open them, or whose process is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from annals.agents.ports import StoreDamagedError, StoreUnavailableError
from annals.agents.reading.keeping import remembered
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.ports import ReadingStore
from annals.workers.stores.reading_memory import MemoryReadingStore


@contextmanager
def remembering(most_bytes: int) -> Iterator[None]:
    """Meanwhile all memories together have so many bytes, which one entry may take."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remembered, "MOST_BYTES", most_bytes)
        patched.setattr(remembered, "LARGEST_PART", 1)
        yield


class Stores:
    """The `ReadingStores` port, with rows in memory as a worker's. store: what outlives those who open it."""

    def __init__(self) -> None:
        self.store = MemoryReadingStore()

    async def open(self) -> RowMemory:
        return RowMemory(self.store)

    async def renew(self, store: ReadingStore) -> RowMemory:
        self.store = MemoryReadingStore()
        return await self.open()

    async def set_aside(self, damage: StoreDamagedError) -> None:
        self.store = MemoryReadingStore()

    async def close(self, store: ReadingStore) -> None:
        """It is needed again."""


class Killed:
    """Before a store among a class's bases: its process is killed at one of its writes, which never happens."""

    left = 1_000_000
    """How many writes come before that one."""

    def apply(self, changes: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailableError("killed")
        super().apply(changes)
