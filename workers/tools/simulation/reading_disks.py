"""The reading stores on the disks of hosts: they outlive processes, fail, and are swapped for others, as shards' do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.ports import StoreDamagedError, StoreUnavailableError
from annals.workers.stores.reading_memory import MemoryReadingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from annals.agents.reading.ports import ReadingStore
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.disks import Host
    from annals.workers.tools.simulation.process import Process


def _nobody() -> None:
    """Tell nobody."""


class DiskRows(MemoryReadingStore):
    """A reading store on a disk.

    key: the shard for which it was begun, whatever it is found under; is_damaged: whether it gives back what nobody
    wrote; refuses_in: which write from now on it refuses, 0: none; refused, met: who is told, when it refuses that, and
    when somebody meets the damage. Its views are of now: no question in a history waits
    while it has one.
    """

    def __init__(self, key: Key, rows: Mapping[bytes, bytes] | None = None) -> None:
        """Begin with rows."""
        super().__init__(rows)
        self.key = key
        self.is_damaged = False
        self.refuses_in = 0
        self.refused: Callable[[], None] = _nobody
        self.met: Callable[[], None] = _nobody

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows (None: remove), all or none."""
        self._sorted = {}, []
        for key, value in changes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = bytes(value)

    def copy(self) -> DiskRows:
        """Return a store that stays as this one is now."""
        twin = DiskRows(self.key, self.rows)
        twin.is_damaged = self.is_damaged
        return twin


class RowHandle(DiskRows):
    """An open reading store. Like RocksDB's it refuses all that follows on a failed write."""

    def __init__(self, host: Host, disk: DiskRows) -> None:
        """Take the host whose disk may fail, and the store on it."""
        super().__init__(disk.key)
        self.rows = disk.rows
        self.disk = disk
        self._host = host
        self._has_failed = False

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        self._require_whole()
        return super().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        self._require_whole()
        return super().get_many(keys)

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last` as they are now."""
        self._require_whole()
        return super().range(first, last, reverse=reverse)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows, unless the disk fails, or did."""
        self._require_whole()
        if self._host.failing > 0:
            self._host.failing -= 1
            self._has_failed = True
        if self.disk.refuses_in > 0:
            self.disk.refuses_in -= 1
            if not self.disk.refuses_in:
                self._has_failed = True
                self.disk.refused()
        if self._has_failed:
            raise StoreUnavailableError("no space left on device")
        super().apply(changes)

    def _require_whole(self) -> None:
        if self.disk.is_damaged:
            self.disk.met()
            self.disk.met = _nobody
            raise StoreDamagedError("a block has another checksum")


class RowStores:
    """Opens the reading store of one partition on its host's disk (the `ReadingStores` port)."""

    def __init__(self, process: Process, key: Key) -> None:
        """Take whose it is. open_one: the store that was opened last."""
        self.process = process
        self.open_one: RowHandle | None = None
        self._key = key

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there that opens the store by this."""
        return self.process.is_alive

    async def open(self) -> RowHandle:
        """Open the store, or begin one: beside it, while another process that is still there holds it."""
        host, key = self.process.host, self._key
        holder = host.row_locks.get(key)
        if holder is not None and holder is not self and holder.process.is_alive:
            if holder.process is self.process:
                self.process.world.problems.append(f"{key[0]}-{key[1]} is read twice on worker {self.process.number}")
            return self._opened(DiskRows(key))
        host.row_locks[key] = self
        return self._opened(host.rows.setdefault(key, DiskRows(key)))

    async def renew(self, store: ReadingStore) -> RowHandle:
        """Begin the store anew."""
        host, fresh = self.process.host, DiskRows(self._key)
        if isinstance(store, RowHandle):
            self.process.world.reading.begun_anew(self.process, self._key, store.disk)
        if isinstance(store, RowHandle) and host.rows.get(self._key) is store.disk:
            host.rows[self._key] = fresh
        return self._opened(fresh)

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""
        del damage
        self.process.host.rows[self._key] = DiskRows(self._key)

    async def close(self, store: ReadingStore) -> None:
        """Close the store, and give it free."""
        store.close()
        self.open_one = None
        if self.process.host.row_locks.get(self._key) is self:
            del self.process.host.row_locks[self._key]

    def _opened(self, disk: DiskRows) -> RowHandle:
        self.open_one = RowHandle(self.process.host, disk)
        return self.open_one
