"""The shard store on RocksDB: one write batch per journal batch, its position inside the same write batch.

What is in memory alone when a process is killed is folded again from the journal, some ten thousand events; closing
writes it to a table.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog
from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from annals.agents.ports import VOIDS_BYTES, StoppedError, StoreDamagedError, StoreError
from annals.workers.stores.failures import StoreLockedError, store_error
from annals.workers.stores.folders import folder_bytes, machine
from annals.workers.stores.layout import (
    AGGREGATES,
    COMMANDS,
    FORMAT,
    IDENTITY_KEY,
    POSITION_KEY,
    START,
    VOIDS,
    decode_aggregate,
    decode_events,
    decode_position,
    encode_aggregate,
    encode_events,
    encode_position,
    encode_void,
    next_voids,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.agents.ports import Changes, CommandEvents, Position, Stored

log = structlog.get_logger(__name__)

BLOOM_BITS: Final = 10.0  # 1 % false positives: most look-ups are for command ids that were never seen
MEMTABLE_BLOOM_RATIO: Final = 0.02  # of a write buffer, for the same look-ups: 0.5 µs instead of 2 (measured)
BLOCK_BYTES: Final = 4 << 10  # a look-up of one key reads one block: 8 µs instead of 10 with 16 KiB (measured)
METADATA_BLOCK_BYTES: Final = 16 << 10  # of an index's or a filter's partition
LOCK_WAIT_S: Final = 5.0
LOCK_POLL_S: Final = 0.2
KEPT_LOG_FILES: Final = 2
LOG_FILE_BYTES: Final = 1 << 20
OPEN_FILES: Final = 128  # of one store

COMPRESSIONS: Final = {
    "none": DBCompressionType.none,
    "lz4": DBCompressionType.lz4,
    "zstd": DBCompressionType.zstd,
}


class Identity(msgspec.Struct, frozen=True):
    """What a store is a fold of. Another identity makes another fold."""

    format: int
    kind: str
    partition: int
    partitions: int
    state_version: int
    journal: str


class StoreBudget:
    """The memory that all stores of one process share, in bytes: one block cache, one bound for write buffers."""

    def __init__(self, cache_bytes: int, write_buffer_bytes: int, open_files: int = OPEN_FILES) -> None:
        """Reserve nothing yet: all are upper bounds. `open_files`: of each store."""
        self._open_files = open_files
        self.cache = Cache(cache_bytes)
        # charged to a cache of their own: in the blocks' cache they would leave a small one no room for any block
        self.write_buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            write_buffer_bytes, False, Cache(write_buffer_bytes)
        )
        self.write_buffer_bytes = write_buffer_bytes

    def options(self, compression: str) -> Options:
        """Return the options of one store within this budget."""
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self.cache)
        blocks.set_block_size(BLOCK_BYTES)
        blocks.set_bloom_filter(BLOOM_BITS, False)
        # A block that is larger than a shard of the cache (1 MiB of 64) is read anew for each look-up: a whole file's
        # filter is, from 800,000 keys on. Partitions of it stay small, and the cache bounds all of them.
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
        blocks.set_partition_filters(True)
        blocks.set_metadata_block_size(METADATA_BLOCK_BYTES)
        blocks.set_pin_top_level_index_and_filter(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self.write_buffers)
        options.set_write_buffer_size(self.write_buffer_bytes // 2)
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO)
        options.set_memtable_whole_key_filtering(True)
        options.set_max_open_files(self._open_files)
        options.set_keep_log_file_num(KEPT_LOG_FILES)
        options.set_max_log_file_size(LOG_FILE_BYTES)
        options.set_compression_type(COMPRESSIONS[compression]())
        return options


class Database:
    """A fold on disk, whatever its rows are. Open it with `open_database`."""

    def __init__(self, folder: Path, options: Options) -> None:
        """Open or make the database in a folder.

        Raises:
            StoreError: it is damaged, locked by another process, or the machine lacks something.
        """
        self.folder = folder
        try:
            # By name, too: else a database that is there gets those of its own file, which has no filter and no cache.
            self._db: Any = Rdict(str(folder), options=options, column_families={"default": options})
        except Exception as error:
            raise store_error(error, folder) from error
        # The journal is the write-ahead log. RocksDB's own could lose one of its files, and the writes after it would
        # stay: a hole that nothing shows. Tables alone are always a beginning of what was written, its position in it.
        self._without_log = WriteOptions()
        self._without_log.disable_wal = True

    def identity(self) -> Identity | None:
        """Return what this is a fold of; None for a new store."""
        value = self._get(IDENTITY_KEY)
        try:
            return None if value is None else msgspec.json.decode(value, type=Identity)
        except msgspec.DecodeError as error:
            raise StoreDamagedError(f"{self.folder}: its identity cannot be read: {error}", str(self.folder)) from error

    def identify(self, identity: Identity) -> None:
        """Write down what this is a fold of."""
        batch = WriteBatch(raw_mode=True)
        batch.put(IDENTITY_KEY, msgspec.json.encode(identity))
        self._write(batch)

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        raise NotImplementedError

    def size_bytes(self) -> int:
        """Return the bytes of the store's files."""
        return folder_bytes(self.folder)

    def index_and_filter_bytes(self) -> int:
        """Return the bytes of indexes and filters that are in memory beside the block cache."""
        return int(self._db.property_int_value("rocksdb.estimate-table-readers-mem") or 0)

    def close(self) -> None:
        """Close the database and give up its lock.

        Raises:
            StoreError: what was in memory alone could not be written; the lock is given up all the same.
        """
        try:
            self._db.close()
        except Exception as error:
            raise store_error(error, self.folder) from error

    def _get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise store_error(error, self.folder) from error
        return value

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch, self._without_log)
        except Exception as error:
            raise store_error(error, self.folder) from error


class RocksStore(Database):
    """A shard's fold on disk. Open it with `open_store`."""

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        value = self._get(POSITION_KEY)
        return START if value is None else decode_position(value)

    def aggregate(self, key: bytes) -> Stored | None:
        """Return the aggregate of a key, its state encoded; None if it is absent."""
        value = self._get(AGGREGATES + key)
        return None if value is None else decode_aggregate(value)

    def command(self, command: bytes) -> CommandEvents | None:
        """Return the events of a command (`ports.command_key`); None if it caused none."""
        value = self._get(COMMANDS + command)
        return None if value is None else decode_events(value)

    def commands(self, commands: Sequence[bytes]) -> list[CommandEvents | None]:
        """Return what `command` returns for each of several."""
        try:
            values = self._db.get([COMMANDS + each for each in commands])
        except Exception as error:
            raise store_error(error, self.folder) from error
        return [None if value is None else decode_events(value) for value in values]

    def is_void(self, cid: bytes) -> bool:
        """Whether a CID is that of a void event."""
        return self._get(VOIDS + cid) is not None

    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the next void events, in the order of their CIDs: the record's key and the command id of each."""
        try:
            return next_voids(self._db.items(from_key=VOIDS + after), after, most_bytes)
        except Exception as error:
            raise store_error(error, self.folder) from error

    def aggregates(self) -> Iterator[tuple[bytes, Stored]]:
        """Yield all aggregates as they are when the first one is asked for, by key."""
        try:
            for key, value in self._db.items(from_key=AGGREGATES):
                if not key.startswith(AGGREGATES):
                    break
                yield key[len(AGGREGATES) :], decode_aggregate(value)
        except Exception as error:
            raise store_error(error, self.folder) from error

    def apply(self, changes: Changes) -> None:
        """Apply the changes of one batch with their position in one write batch."""
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        for key, (version, head, recorded_at, state) in changes.aggregates.items():
            put(AGGREGATES + key, encode_aggregate(version, head, recorded_at, state))
        for command, events in changes.commands.items():
            put(COMMANDS + command, encode_events(events))
        for cid, void in changes.voids.items():
            put(VOIDS + cid, encode_void(*void))
        put(POSITION_KEY, encode_position(changes.position))
        self._write(batch)


D = TypeVar("D", bound=Database)


async def open_store(root: Path, identity: Identity, budget: StoreBudget, compression: str) -> RocksStore:
    """Open the store of a shard below `root`, or begin a new one: as `open_database` does."""
    return await open_database(RocksStore, root, identity, budget, compression)


async def renew_store(store: RocksStore, identity: Identity, budget: StoreBudget, compression: str) -> RocksStore:
    """Throw a store away and begin a new one in its place."""
    return await renew_database(store, identity, budget, compression)


async def open_database(type_: type[D], root: Path, identity: Identity, budget: StoreBudget, compression: str) -> D:
    """Open the store of a shard below `root`, or begin a new one.

    While another process holds the lock (the previous owner, frozen on the same host) for five seconds, the fold begins
    anew in a folder beside it; a folder that is not needed any more goes as soon as its lock is free.

    Raises:
        StoppedError: the store was folded from a journal with another number of partitions.
        StoreDamagedError: a store is damaged; `set_aside` makes room for another.
        StoreUnavailableError: the machine lacks what it takes to open one.
    """
    main = root / identity.kind / str(identity.partition)
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    with machine(main):
        main.parent.mkdir(parents=True, exist_ok=True)
        while True:
            folders = [main, *sorted(main.parent.glob(f"{identity.partition}.*"))]
            opened = await asyncio.to_thread(_open_free, type_, folders, budget, compression)
            if not opened and not main.exists():
                opened = [await asyncio.to_thread(type_, main, budget.options(compression))]
            if opened:
                return await asyncio.to_thread(_chosen, opened, identity, budget, compression)
            if asyncio.get_running_loop().time() > deadline:
                return await asyncio.to_thread(_beside, type_, main, identity, budget, compression)
            await asyncio.sleep(LOCK_POLL_S)


async def renew_database(store: D, identity: Identity, budget: StoreBudget, compression: str) -> D:
    """Throw a store away and begin a new one in its place."""
    with machine(store.folder):
        return await asyncio.to_thread(_renewed, store, identity, budget, compression)


def _open_free(type_: type[D], folders: list[Path], budget: StoreBudget, compression: str) -> list[D]:
    """Open the stores that are there and that nobody holds; all of them or, where one cannot be opened, none."""
    opened: list[D] = []
    try:
        for folder in folders:
            if folder.is_dir():
                _require_whole(folder)
                with suppress(StoreLockedError):
                    opened.append(type_(folder, budget.options(compression)))
    except StoreError:
        _close(opened)
        raise
    return opened


def _require_whole(folder: Path) -> None:
    """See what RocksDB does not: it makes a new database where the file that names its manifest is gone."""
    if not (folder / "CURRENT").exists() and any(folder.glob("*.sst")):
        raise StoreDamagedError(f"{folder}: there are tables, but the file CURRENT is missing", str(folder))


def _chosen(opened: list[D], identity: Identity, budget: StoreBudget, compression: str) -> D:
    """Keep the store that is folded furthest and remove the others, which nobody holds."""
    try:
        best = max(opened, key=lambda store: store.position().offset)
        found = best.identity()
    except StoreError:
        _close(opened)
        raise
    others = [store for store in opened if store is not best]
    _close(others)
    for other in others:
        shutil.rmtree(other.folder)
    if found == identity:
        return best
    if found is not None and found.journal == identity.journal and found.partitions != identity.partitions:
        best.close()
        raise StoppedError(
            f"{best.folder} was folded when {identity.journal} had {found.partitions} partitions; now it has "
            f"{identity.partitions}. Partitions were added, and keys live in other partitions than their chains: "
            f"recreate the topics with {found.partitions} partitions."
        )
    if found is not None:
        log.warning("the store is of another fold; folding anew", folder=str(best.folder), found=str(found))
    return _renewed(best, identity, budget, compression)


def _renewed(store: D, identity: Identity, budget: StoreBudget, compression: str) -> D:
    _close([store])
    shutil.rmtree(store.folder)
    fresh = type(store)(store.folder, budget.options(compression))
    fresh.identify(identity)
    return fresh


def _beside(type_: type[D], main: Path, identity: Identity, budget: StoreBudget, compression: str) -> D:
    folder = Path(tempfile.mkdtemp(prefix=f"{identity.partition}.", dir=main.parent))
    try:
        store = type_(folder, budget.options(compression))
        store.identify(identity)
    except StoreError:
        shutil.rmtree(folder)  # or each further try would leave another
        raise
    return store


def _close(stores: Sequence[Database]) -> None:
    """Close stores that are not needed, whatever they have to say to that."""
    for store in stores:
        with suppress(StoreError):
            store.close()


def identity_of(kind: str, partition: int, partitions: int, state_version: int, journal: str) -> Identity:
    """Return the identity of a shard's fold in the present format."""
    return Identity(FORMAT, kind, partition, partitions, state_version, journal)
