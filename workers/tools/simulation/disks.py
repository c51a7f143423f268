"""The disks of a host, and the stores on them: they outlive processes, fail, and are swapped for older ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.agents.ports import VOIDS_BYTES, StoreDamagedError
from annals.workers.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.agents.ports import Changes, CommandEvents, Position, Stored
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.reading_disks import DiskRows, RowStores


class DiskStore(MemoryStore):
    """A store on a disk.

    key: the shard for which it was begun, whatever it is found under; is_damaged: whether it gives back what nobody
    wrote.
    """

    def __init__(self, key: Key) -> None:
        """Begin empty."""
        super().__init__()
        self.key = key
        self.is_damaged = False


class Host:
    """A machine: its clock, and its disk, which has a store a shard, and the rows of each partition that is read.

    failing: how many writes more its disk refuses.
    """

    def __init__(self, number: int) -> None:
        """Begin with an empty disk."""
        self.number = number
        self.clock_s = 0.0
        self.failing = 0
        self.stores: dict[Key, DiskStore] = {}
        self.locks: dict[Key, DiskStores] = {}
        self.rows: dict[Key, DiskRows] = {}
        self.row_locks: dict[Key, RowStores] = {}

    def lose_disk(self) -> None:
        """Lose all that is on the disk."""
        self.stores.clear()
        self.rows.clear()


class Handle:
    """An open store (the `ShardStore` port). Like RocksDB's it refuses all that follows on a failed write."""

    def __init__(self, host: Host, store: MemoryStore) -> None:
        """Take the store, and the host whose disk may fail."""
        self._host = host
        self.store = store
        self._has_failed = False

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        return self.store.position()

    def aggregate(self, key: bytes) -> Stored | None:
        """Return the aggregate of a key."""
        self._require_whole()
        return self.store.aggregate(key)

    def command(self, command: bytes) -> CommandEvents | None:
        """Return the events of a command."""
        self._require_whole()
        return self.store.command(command)

    def commands(self, commands: Sequence[bytes]) -> Sequence[CommandEvents | None]:
        """Return the events of each of several commands."""
        self._require_whole()
        return self.store.commands(commands)

    def is_void(self, cid: bytes) -> bool:
        """Whether a CID is that of a void event."""
        return self.store.is_void(cid)

    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the next void events."""
        return self.store.voids(after, most_bytes)

    def aggregates(self) -> Iterator[tuple[bytes, Stored]]:
        """Return all aggregates."""
        return self.store.aggregates()

    def apply(self, changes: Changes) -> None:
        """Apply the changes, unless the disk fails, or did."""
        self._require_whole()
        if self._host.failing > 0:
            self._host.failing -= 1
            self._has_failed = True
        if self._has_failed:
            raise OSError("no space left on device")
        self.store.apply(changes)

    def close(self) -> None:
        """Nothing is held open."""

    def _require_whole(self) -> None:
        if isinstance(self.store, DiskStore) and self.store.is_damaged:
            raise StoreDamagedError("a block has another checksum")


class DiskStores:
    """Opens the store of one shard on its host's disk (the `StoreFactory` port)."""

    def __init__(self, process: Process, key: Key) -> None:
        """Take whose it is."""
        self.process = process
        self._key = key

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there that opens the store by this."""
        return self.process.is_alive

    async def open(self) -> Handle:
        """Open the store, or begin one: beside it, while somebody who is still there holds it.

        That is another process. No two actors of one have a partition's store: the second would fold it anew.
        """
        host, key = self.process.host, self._key
        holder = host.locks.get(key)
        if holder is not None and holder is not self and holder.is_alive:
            if holder.process is self.process:
                self.process.world.problems.append(f"{key[0]}-{key[1]} is open twice on worker {self.process.number}")
            return Handle(host, MemoryStore())
        host.locks[key] = self
        return Handle(host, host.stores.setdefault(key, DiskStore(key)))

    async def renew(self, store: Any) -> Handle:
        """Begin the store anew."""
        host, fresh = self.process.host, DiskStore(self._key)
        if host.stores.get(self._key) is store.store:
            host.stores[self._key] = fresh
        return Handle(host, fresh)

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""
        del damage
        self.process.host.stores[self._key] = DiskStore(self._key)

    async def open_beside(self) -> Handle:
        """Begin an empty store, which the process takes with it."""
        return Handle(self.process.host, MemoryStore())

    async def discard(self, store: Any) -> None:
        """Forget the store."""
        store.close()

    async def close(self, store: Any) -> None:
        """Close the store, and give it free."""
        store.close()
        if self.process.host.locks.get(self._key) is self:
            del self.process.host.locks[self._key]


def copy_of(store: DiskStore) -> DiskStore:
    """Return a store that stays as this one is now: values do not change, only which there are."""
    twin = DiskStore(store.key)
    twin.is_damaged = store.is_damaged
    twin._position = store._position  # noqa: SLF001
    twin._aggregates = dict(store._aggregates)  # noqa: SLF001
    twin._commands = dict(store._commands)  # noqa: SLF001
    twin._voids = dict(store._voids)  # noqa: SLF001
    return twin
