"""A reading store in memory that outlives the shards that open it."""

from annals.agents.ports import StoreDamagedError
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
