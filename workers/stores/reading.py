"""The reading store on RocksDB: rows of one reading shard, with their positions in the same write batch.

Options, identity, damage and folders are the shard store's (`annals.workers.stores.rocks`).
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rocksdict import WriteBatch

from annals.agents.reading.keeping.layout import FORMAT, WRITTEN_ONCE, read_position
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.workers.stores.beside import database_beside, discard
from annals.workers.stores.failures import store_error
from annals.workers.stores.folders import set_aside
from annals.workers.stores.rocks import Database, Identity, open_database, renew_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rocksdict import Options

    from annals.agents.ports import Position, StoreDamagedError
    from annals.agents.reading.ports import ReadView
    from annals.workers.stores.rocks import StoreBudget

FIRST_ROWS: Final = 1  # of a range: many want no more, and rows may be large
ROWS_AT_ONCE: Final = 128
BYTES_AT_ONCE: Final = 1 << 18
FOLDER: Final = "read"
SCRATCH: Final = "_scratch"  # no kind has this name
NO_KEY: Final = "key not found"


class RocksReadingStore(Database):
    """A reading shard's rows on disk (the `ReadingStore` port)."""

    def __init__(self, folder: Path, options: Options) -> None:
        """Open or make the database in a folder."""
        super().__init__(folder, options)
        self._writing = threading.Lock()

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        return read_position(self)

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        return self._get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys."""
        try:
            return list(self._db.get(list(keys))) if keys else []
        except Exception as error:
            raise store_error(error, self.folder) from error

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last` as they are now."""
        return _rows(self._iterator(), self.folder, first, last, reverse=reverse)

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys from `first` to below `last` as they are now."""
        return _keys(self._iterator(), self.folder, first, last, reverse=reverse)

    @contextmanager
    def view(self) -> Iterator[ReadView]:
        """Return a view that later batches do not change, but for what `get_many` says of rows written once."""
        with self._writing:
            view = _View(self, self._db.snapshot(), self._iterator())
        yield view

    @contextmanager
    def held(self) -> Iterator[ReadView]:
        """Return the rows as a view, to which nothing is written until the context ends.

        A snapshot and an iterator, which a view has, take as long as reading three rows.
        """
        with self._writing:
            yield self

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows (None: remove) in one write batch."""
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in changes.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        with self._writing:
            self._write(batch)

    def _iterator(self) -> Any:
        try:
            return self._db.iter()
        except Exception as error:
            raise store_error(error, self.folder) from error


class _View:
    """A snapshot for single rows, and an iterator of the same moment for ranges.

    The binding's snapshot gives single rows as they were, but its ranges show later writes, too. An iterator shows one
    moment for ever, wherever it is moved to.
    """

    def __init__(self, store: RocksReadingStore, snapshot: Any, iterator: Any) -> None:
        self._store = store
        self._snapshot = snapshot
        self._iterator = iterator
        self._folder = store.folder

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""
        try:
            value: bytes | None = self._snapshot[key]
        except Exception as error:
            if str(error) == NO_KEY:
                return None
            raise store_error(error, self._folder) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys.

        Those that never change are the store's own: of many RocksDB reads each in two thirds of the time, and the
        binding's snapshot has single ones alone. Such a row may have come behind the view's moment.
        """
        if WRITTEN_ONCE.issuperset([key[:1] for key in keys]):
            return self._store.get_many(keys)
        return [self.get(key) for key in keys]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` to below `last`."""
        return _rows(self._iterator, self._folder, first, last, reverse=reverse)

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys from `first` to below `last`."""
        return _keys(self._iterator, self._folder, first, last, reverse=reverse)


def _keys(iterator: Any, folder: Path, first: bytes, last: bytes, *, reverse: bool) -> Iterator[bytes]:
    """Yield the keys of rows."""
    return (key for key, _ in _rows(iterator, folder, first, last, reverse=reverse, has_values=False))


def _rows(
    iterator: Any, folder: Path, first: bytes, last: bytes, *, reverse: bool, has_values: bool = True
) -> Iterator[tuple[bytes, bytes]]:
    """Yield rows, some at a time: between two of these others may move the iterator. has_values: else keys alone."""
    following: bytes | None = last if reverse else first
    most = FIRST_ROWS
    while following is not None:
        try:
            rows, following = _some(iterator, first, last, following, most, reverse=reverse, has_values=has_values)
        except Exception as error:
            raise store_error(error, folder) from error
        most = ROWS_AT_ONCE
        yield from rows


def _some(
    iterator: Any, first: bytes, last: bytes, following: bytes, most: int, *, reverse: bool, has_values: bool
) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
    """Return the next rows, at most so many, and the key from which to go on; None at the end. Reverse: below that key.

    They end behind the one with which they have `BYTES_AT_ONCE`: whoever looks at large rows holds few of them.
    """
    rows: list[tuple[bytes, bytes]] = []
    left = BYTES_AT_ONCE
    step = iterator.prev if reverse else iterator.next
    if reverse:
        iterator.seek_for_prev(following)
        if iterator.valid() and iterator.key() == following:
            step()
    else:
        iterator.seek(following)
    while iterator.valid():
        key = iterator.key()
        if not first <= key < last:
            return rows, None
        if len(rows) == most or left <= 0:
            return rows, rows[-1][0] if reverse else key
        value = iterator.value() if has_values else b""
        rows.append((key, value))
        left -= len(value)
        step()
    iterator.status()  # a damaged block ends an iterator like the end of the rows
    return rows, None


def reading_identity(kind: str, partition: int, partitions: int, journal: str) -> Identity:
    """Return the identity of a reading shard's store in the present format. Followers have versions of their own."""
    return Identity(FORMAT, kind, partition, partitions, 0, journal)


def scratch_stores(root: Path, budget: StoreBudget, compression: str) -> ReadingStoreFolder:
    """Return what opens stores for one piece of work each (the port `ScratchStores`), below a folder."""
    return ReadingStoreFolder(root, reading_identity(SCRATCH, 0, 1, ""), budget, compression)


class ReadingStoreFolder:
    """Opens one reading shard's store (the ports `ReadingStores` and `BesideStores`)."""

    def __init__(self, root: Path, identity: Identity, budget: StoreBudget, compression: str) -> None:
        """Take the group's data folder, what the store is a fold of, and the memory that all stores share."""
        self._root = root / FOLDER
        self._identity = identity
        self._budget = budget
        self._compression = compression
        self._folder: Path | None = None

    async def open(self) -> RowMemory:
        """Open the store, or begin one."""
        store = await open_database(RocksReadingStore, self._root, self._identity, self._budget, self._compression)
        self._folder = store.folder
        return RowMemory(store)

    async def renew(self, store: Any) -> RowMemory:
        """Begin the store anew."""
        return RowMemory(await renew_database(store.store, self._identity, self._budget, self._compression))

    async def set_aside(self, damage: StoreDamagedError) -> None:
        """Make room for another store."""
        folder = Path(damage.folder) if damage.folder else self._folder
        if folder is not None:
            await set_aside(folder)

    async def open_beside(self) -> RocksReadingStore:
        """Begin an empty store beside the shard's own, which is never opened again."""
        return await database_beside(RocksReadingStore, self._root, self._identity, self._budget, self._compression)

    async def discard(self, store: Any) -> None:
        """Close one that is beside, and remove it."""
        await discard(store)

    async def close(self, store: Any) -> None:
        """Close the store; RocksDB flushes what is in memory."""
        await asyncio.to_thread(store.close)
