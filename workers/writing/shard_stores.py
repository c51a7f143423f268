"""The store of one shard, whoever folds into it: the shard that decides, or a standby of its partition."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from annals.topics.catalog import (
    COMMAND_TOPIC_BYTES,
    DEAD_LETTER_TOPIC_BYTES,
    EVENT_TOPIC_BYTES,
    OUTCOME_TOPIC_BYTES,
    RESTORE_TOPIC_BYTES,
    SNAPSHOT_TOPIC_BYTES,
)
from annals.workers.stores.beside import discard, open_beside
from annals.workers.stores.folders import set_aside
from annals.workers.stores.rocks import RocksStore, identity_of, open_store, renew_store

if TYPE_CHECKING:
    from annals.agents.ports import StoreDamagedError
    from annals.agents.writing.shard_id import ShardId
    from annals.topics.names import TopicNames
    from annals.workers.settings import Settings
    from annals.workers.stores.rocks import Identity, StoreBudget

LIMITS: Final = {
    "commands": COMMAND_TOPIC_BYTES,
    "events": EVENT_TOPIC_BYTES,
    "outcomes": OUTCOME_TOPIC_BYTES,
    "snapshots": SNAPSHOT_TOPIC_BYTES,
    "restore": RESTORE_TOPIC_BYTES,
    "dead-letters": DEAD_LETTER_TOPIC_BYTES,
}


class Stores:
    """Opens the store of one shard (the `StoreFactory` port)."""

    def __init__(self, root: Path, identity: Identity, budget: StoreBudget, compression: str) -> None:
        """Take the data folder, what the store is a fold of, and the memory that all stores share."""
        self._root = root
        self._identity = identity
        self._budget = budget
        self._compression = compression
        self._folder: Path | None = None

    async def open(self) -> RocksStore:
        """Open the store, or begin one."""
        store = await open_store(self._root, self._identity, self._budget, self._compression)
        self._folder = store.folder
        return store

    async def renew(self, store: Any) -> RocksStore:
        """Begin the store anew."""
        return await renew_store(store, self._identity, self._budget, self._compression)

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""
        folder = Path(damage.folder) if damage.folder else self._folder
        if folder is not None:
            await set_aside(folder)

    async def open_beside(self) -> RocksStore:
        """Begin an empty store beside the shard's own."""
        return await open_beside(self._root, self._identity, self._budget, self._compression)

    async def discard(self, store: Any) -> None:
        """Close a store that was opened beside, and remove it."""
        await discard(store)

    async def close(self, store: Any) -> None:
        """Close the store; RocksDB flushes what is in memory."""
        await asyncio.to_thread(store.close)


def stores_of(place: ShardId, state_version: int, settings: Settings, names: TopicNames, budget: StoreBudget) -> Stores:
    """Return what opens the store of a partition: of shard and standby the same one."""
    identity = identity_of(place.kind, place.partition, place.partitions, state_version, names.events(place.kind))
    root = Path(settings.data_dir) / names.group(settings.app_id)
    return Stores(root, identity, budget, settings.store_compression)
