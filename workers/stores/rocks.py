"""The shard store on RocksDB: one write batch per journal batch, its position inside the same write batch."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from annals.agents.ports import StoppedError
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
    decode_void,
    encode_aggregate,
    encode_events,
    encode_position,
    encode_void,
)

if TYPE_CHECKING:
    from annals.agents.ports import Changes, CommandEvents, Position, Stored

BLOOM_BITS: Final = 10.0  # 1 % false positives: most look-ups are for command ids that were never seen
MEMTABLE_BLOOM_RATIO: Final = 0.02  # of a write buffer, for the same look-ups: 0.5 µs instead of 2 (measured)
BLOCK_BYTES: Final = 16 << 10
LOCK_WAIT_S: Final = 5.0
LOCK_POLL_S: Final = 0.2
KEPT_LOG_FILES: Final = 2
LOG_FILE_BYTES: Final = 1 << 20
OPEN_FILES: Final = 128

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

    def __init__(self, cache_bytes: int, write_buffer_bytes: int) -> None:
        """Reserve nothing yet: both are upper bounds."""
        self.cache = Cache(cache_bytes)
        self.write_buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            write_buffer_bytes,
            False,
            self.cache,
        )
        self.write_buffer_bytes = write_buffer_bytes

    def options(self, compression: str) -> Options:
        """Return the options of one store within this budget."""
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self.cache)
        blocks.set_block_size(BLOCK_BYTES)
        blocks.set_bloom_filter(BLOOM_BITS, False)
        blocks.set_cache_index_and_filter_blocks(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self.write_buffers)
        options.set_write_buffer_size(self.write_buffer_bytes // 2)
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO)
        options.set_memtable_whole_key_filtering(True)
        options.set_max_open_files(OPEN_FILES)
        options.set_keep_log_file_num(KEPT_LOG_FILES)
        options.set_max_log_file_size(LOG_FILE_BYTES)
        options.set_compression_type(COMPRESSIONS[compression]())
        return options


class RocksStore:
    """A fold on disk. Open it with `open_store`."""

    def __init__(self, folder: Path, options: Options) -> None:
        """Open or make the database in a folder.

        Raises:
            Exception: the folder is locked by another process, or damaged (RocksDB's words).
        """
        self.folder = folder
        self._db: Any = Rdict(str(folder), options=options)
        self._get = self._db.get
        self._unsynced = WriteOptions()  # kill -9 loses nothing that was written; a power cut folds again

    def identity(self) -> Identity | None:
        """Return what this is a fold of; None for a new store."""
        value = self._get(IDENTITY_KEY)
        return None if value is None else msgspec.json.decode(value, type=Identity)

    def identify(self, identity: Identity) -> None:
        """Write down what this is a fold of."""
        self._db.put(IDENTITY_KEY, msgspec.json.encode(identity))

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

    def is_void(self, cid: bytes) -> bool:
        """Whether a CID is that of a void event."""
        return self._get(VOIDS + cid) is not None

    def voids(self) -> dict[bytes, tuple[bytes, bytes]]:
        """Return all void events: by CID, the record's key and the command id."""
        found = {}
        for key, value in self._db.items(from_key=VOIDS):
            if not key.startswith(VOIDS):
                break
            found[key[len(VOIDS) :]] = decode_void(value)
        return found

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
        self._db.write(batch, self._unsynced)

    def size_bytes(self) -> int:
        """Return the bytes of the store's files."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def close(self) -> None:
        """Close the database and give up its lock."""
        self._db.close()


async def open_store(root: Path, identity: Identity, budget: StoreBudget, compression: str) -> RocksStore:
    """Open the store of a shard below `root`, or begin a new one.

    While another process holds the lock (the previous owner, frozen on the same host) for five seconds, the fold begins
    anew in a folder beside it; a folder that is not needed any more goes as soon as its lock is free.

    Raises:
        StoppedError: the store was folded from a journal with another number of partitions.
    """
    main = root / identity.kind / str(identity.partition)
    main.parent.mkdir(parents=True, exist_ok=True)
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    while True:
        opened = [
            store
            for folder in [main, *sorted(main.parent.glob(f"{identity.partition}.*"))]
            if (store := await asyncio.to_thread(_open_existing, folder, budget, compression)) is not None
        ]
        if not opened and not main.exists():
            opened = [await asyncio.to_thread(RocksStore, main, budget.options(compression))]
        if opened:
            return await _chosen(opened, identity, budget, compression)
        if asyncio.get_running_loop().time() > deadline:
            beside = Path(tempfile.mkdtemp(prefix=f"{identity.partition}.", dir=main.parent))
            store = await asyncio.to_thread(RocksStore, beside, budget.options(compression))
            store.identify(identity)
            return store
        await asyncio.sleep(LOCK_POLL_S)


async def renew_store(store: RocksStore, identity: Identity, budget: StoreBudget, compression: str) -> RocksStore:
    """Throw a store away and begin a new one in its place."""
    await asyncio.to_thread(store.close)
    await asyncio.to_thread(shutil.rmtree, store.folder)
    fresh = await asyncio.to_thread(RocksStore, store.folder, budget.options(compression))
    fresh.identify(identity)
    return fresh


async def _chosen(opened: list[RocksStore], identity: Identity, budget: StoreBudget, compression: str) -> RocksStore:
    """Keep the store that is folded furthest and remove the others, which nobody holds."""
    best = max(opened, key=lambda store: store.position().offset)
    for other in opened:
        if other is not best:
            await asyncio.to_thread(other.close)
            await asyncio.to_thread(shutil.rmtree, other.folder)
    found = best.identity()
    if found == identity:
        return best
    if found is not None and found.journal == identity.journal and found.partitions != identity.partitions:
        await asyncio.to_thread(best.close)
        raise StoppedError(
            f"{best.folder} was folded when {identity.journal} had {found.partitions} partitions; now it has "
            f"{identity.partitions}. Partitions were added, and keys live in other partitions than their chains: "
            f"recreate the topics with {found.partitions} partitions."
        )
    return await renew_store(best, identity, budget, compression)


def _open_existing(folder: Path, budget: StoreBudget, compression: str) -> RocksStore | None:
    """Open a store that is there; None if it is not, or is locked. A damaged one is removed: it is only a fold."""
    if not folder.is_dir():
        return None
    try:
        return RocksStore(folder, budget.options(compression))
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exceptions with RocksDB's words
        if "lock" in str(error).lower():
            return None
        shutil.rmtree(folder)
        return RocksStore(folder, budget.options(compression))


def identity_of(kind: str, partition: int, partitions: int, state_version: int, journal: str) -> Identity:
    """Return the identity of a shard's fold in the present format."""
    return Identity(FORMAT, kind, partition, partitions, state_version, journal)
