"""The stores of one shard in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.workers.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.ports import CommandEvents, ShardStore, Stored, StoreDamagedError, StoreUnavailableError


class DamagedStore(MemoryStore):
    """A store in which every look-up finds damage."""

    def __init__(self, damage: StoreDamagedError) -> None:
        """Take the error that look-ups raise."""
        super().__init__()
        self._damage = damage

    def aggregate(self, key: bytes) -> Stored | None:  # noqa: ARG002 - whichever it is
        """Raise the damage."""
        raise self._damage

    def command(self, command: bytes) -> CommandEvents | None:  # noqa: ARG002 - whichever it is
        """Raise the damage."""
        raise self._damage

    def commands(self, commands: Sequence[bytes]) -> list[CommandEvents | None]:  # noqa: ARG002 - whichever they are
        """Raise the damage."""
        raise self._damage


class MemoryStores:
    """Opens the store of one shard (the `StoreFactory` port). Like one on disk it outlives the shard.

    damages: the first of them is found in the store that is opened, until it is set aside; unavailable: raised by the
    next attempts to open a store or to set one aside.
    """

    def __init__(self) -> None:
        """Begin with an empty store."""
        self.store = MemoryStore()
        self.damages: list[StoreDamagedError] = []
        self.unavailable: list[StoreUnavailableError] = []
        self.set_asides: list[StoreDamagedError] = []
        self.renewed = self.closed = 0

    async def open(self) -> MemoryStore:
        """Open the store."""
        self._require_available()
        return DamagedStore(self.damages[0]) if self.damages else self.store

    async def renew(self, store: ShardStore) -> MemoryStore:
        """Begin the store anew."""
        store.close()
        self.renewed += 1
        self.store = MemoryStore()
        return self.store

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""
        self._require_available()
        self.damages = self.damages[1:]
        self.set_asides.append(damage)
        self.store = MemoryStore()

    async def open_beside(self) -> MemoryStore:
        """Begin an empty store beside the shard's own."""
        self._require_available()
        return MemoryStore()

    async def discard(self, store: ShardStore) -> None:
        """Forget a store that was opened beside the shard's own."""
        store.close()

    async def close(self, store: ShardStore) -> None:
        """Close the store; what is in it stays."""
        store.close()
        self.closed += 1

    def _require_available(self) -> None:
        if self.unavailable:
            raise self.unavailable.pop(0)
