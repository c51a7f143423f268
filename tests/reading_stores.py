"""Reading stores that outlive the shards that open them, or whose process is killed."""

from typing import Any

from annals.agents.ports import StoreDamagedError, StoreUnavailableError
from annals.agents.reading.ports import ReadingStore
from annals.workers.stores.reading_memory import MemoryReadingStore


class Stores:
    """The `ReadingStores` port."""

    def __init__(self) -> None:
        self.store = MemoryReadingStore()

    async def open(self) -> MemoryReadingStore:
        return self.store

    async def renew(self, store: ReadingStore) -> MemoryReadingStore:
        self.store = MemoryReadingStore()
        return self.store

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
