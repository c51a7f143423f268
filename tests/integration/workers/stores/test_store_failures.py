"""What RocksDB's errors are taken for, each of them provoked: damage, a lock, or something that the machine lacks."""

import asyncio
import errno
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from annals.agents.ports import (
    Changes,
    Position,
    StoppedError,
    Stored,
    StoreDamagedError,
    StoreUnavailableError,
    command_key,
)
from annals.workers.stores import rocks
from annals.workers.stores.failures import StoreLockedError, store_error
from annals.workers.stores.folders import set_aside
from annals.workers.stores.rocks import RocksStore, StoreBudget, identity_of, open_store

HEAD = b"\x01\x71\x1e\x20" + bytes(32)
IDENTITY = identity_of("person", 0, 4, 1, "events.person")
KEYS = 3_000

HOLD = """
import sys
from pathlib import Path
from annals.workers.stores.rocks import RocksStore, StoreBudget
store = RocksStore(Path(sys.argv[1]), StoreBudget(8 << 20, 4 << 20).options("lz4"))
print("held", flush=True)
sys.stdin.read()
"""
WRITE_AND_DIE = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store_failures import batch
from annals.workers.stores.rocks import RocksStore, StoreBudget
options = StoreBudget(8 << 20, 64 << 20).options("none")
options.set_write_buffer_size(1 << 20)
options.set_max_write_buffer_number(6)
options.set_min_write_buffer_number_to_merge(5)
store = RocksStore(Path(sys.argv[1]), options)
for number in range(30):
    store.apply(batch(number))
os.kill(os.getpid(), 9)
"""


def batch(number):
    """300 aggregates of their own, and the position behind them."""
    keys = range(300 * number, 300 * number + 300)
    aggregates = {b"p-%d" % n: Stored(1, HEAD, "2026-11-21T09:30:00.000000Z", os.urandom(100)) for n in keys}
    commands = {command_key(b"p-%d" % n, b"c-%d" % n): (1, [(HEAD, "PersonRegistered")]) for n in keys}
    return Changes(aggregates, commands, {}, Position(number + 1, number, HEAD))


@pytest.fixture
def budget():
    return StoreBudget(8 << 20, 4 << 20)


@pytest.fixture
def root(tmp_path, budget):
    """A data folder with a store of 3,000 aggregates, closed."""
    store = asyncio.run(open_store(tmp_path, IDENTITY, budget, "lz4"))
    for number in range(KEYS // 300):
        store.apply(batch(number))
    store.close()
    return tmp_path


@pytest.fixture
def folder(root):
    return root / "person" / "0"


def look_at_all(root, budget):
    store = asyncio.run(open_store(root, IDENTITY, budget, "lz4"))
    try:
        for number in range(KEYS):
            assert store.aggregate(b"p-%d" % number) is not None
            assert store.command(command_key(b"p-%d" % number, b"c-%d" % number)) is not None
        store.voids()
        return store.position().offset
    finally:
        store.close()


def invert(path, at, count=64):
    content = bytearray(path.read_bytes())
    content[at : at + count] = bytes(byte ^ 0xFF for byte in content[at : at + count])
    path.write_bytes(content)


def the(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def tables(folder):
    return sorted(folder.glob("*.sst"))


def to_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "a block of a table": lambda folder: invert(tables(folder)[0], 20_000),
    "the footer of a table": lambda folder: invert(tables(folder)[0], tables(folder)[0].stat().st_size - 60),
    "a table cut off": lambda folder: os.truncate(tables(folder)[0], 1_000),
    "an empty table": lambda folder: os.truncate(tables(folder)[0], 0),
    "a table gone": lambda folder: tables(folder)[0].unlink(),
    "a folder instead of a table": lambda folder: to_folder(tables(folder)[0]),
    "a folder instead of the binding's own file": lambda folder: to_folder(folder / "rocksdict-config.json"),
    "MANIFEST inverted": lambda folder: invert(the(folder, "MANIFEST*"), 10),
    "MANIFEST overwritten": lambda folder: the(folder, "MANIFEST*").write_bytes(b"damaged"),
    "MANIFEST empty": lambda folder: the(folder, "MANIFEST*").write_bytes(b""),
    "MANIFEST gone": lambda folder: the(folder, "MANIFEST*").unlink(),
    "CURRENT overwritten": lambda folder: (folder / "CURRENT").write_bytes(b"rubbish\n"),
    "CURRENT empty": lambda folder: (folder / "CURRENT").write_bytes(b""),
    "CURRENT gone": lambda folder: (folder / "CURRENT").unlink(),
    "CURRENT and the log gone": lambda folder: [path.unlink() for path in [folder / "CURRENT", *folder.glob("*.log")]],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_told_with_rocksdbs_words_and_folded_anew_once_it_is_set_aside(damage, root, folder, budget):
    damage(folder)
    with pytest.raises(StoreDamagedError) as raised:
        look_at_all(root, budget)
    assert raised.value.folder == str(folder)
    assert str(folder) in str(raised.value)
    asyncio.run(set_aside(folder))
    assert (folder.parent / "damaged.0").is_dir()
    store = asyncio.run(open_store(root, IDENTITY, budget, "lz4"))
    assert store.position().offset == 0
    store.close()


def test_damage_is_told_where_several_commands_are_looked_up_at_once(root, folder, budget):
    table = tables(folder)[0]
    invert(table, table.stat().st_size * 7 // 8)  # commands are behind all aggregates
    store = asyncio.run(open_store(root, IDENTITY, budget, "lz4"))
    with pytest.raises(StoreDamagedError) as raised:
        store.commands([command_key(b"p-%d" % number, b"c-%d" % number) for number in range(KEYS)])
    assert raised.value.folder == str(folder)
    store.close()


def test_of_a_shards_damaged_stores_the_last_one_is_kept(root, folder, budget):
    for content in (b"first", b"second"):
        (folder / "CURRENT").write_bytes(content)
        asyncio.run(set_aside(folder))
        asyncio.run(open_store(root, IDENTITY, budget, "lz4")).close()
    kept = folder.parent / "damaged.0"
    assert (kept / "CURRENT").read_bytes() == b"second"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["0", "damaged.0"]


def test_without_room_for_both_no_damaged_store_is_kept(folder, monkeypatch):
    monkeypatch.setattr(rocks.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    asyncio.run(set_aside(folder))
    assert list(folder.parent.iterdir()) == []


HARMLESS = {
    "the log": "*.log",
    "the options": "OPTIONS*",
    "the identity of the database": "IDENTITY",
    "the lock": "LOCK",
    "what RocksDB says": "LOG",
}


@pytest.mark.parametrize("pattern", HARMLESS.values(), ids=HARMLESS)
def test_a_file_that_holds_no_data_can_be_gone(pattern, root, folder, budget):
    for path in folder.glob(pattern):
        path.unlink()
    assert look_at_all(root, budget) == KEYS // 300


def test_a_store_of_another_partition_is_not_taken_for_this_ones(root, folder, budget):
    other = identity_of("person", 1, 4, 1, "events.person")
    shutil.copytree(folder, folder.with_name("1"))
    store = asyncio.run(open_store(root, other, budget, "lz4"))
    assert (store.position().offset, store.identity()) == (0, other)
    store.close()


@pytest.mark.parametrize("gone", [0, -1], ids=["first", "last"])
def test_after_kill_9_a_store_is_the_beginning_of_what_was_written_whatever_file_of_a_log_is_gone(tmp_path, gone):
    folder = tmp_path / "store"
    program = [sys.executable, "-c", WRITE_AND_DIE, str(folder), str(Path(__file__).parent)]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    for path in sorted(folder.glob("*.log"))[gone:][:1]:
        path.unlink()
    store = RocksStore(folder, StoreBudget(8 << 20, 4 << 20).options("none"))
    position = store.position().offset
    assert [n for n in range(position * 300) if store.aggregate(b"p-%d" % n) is None] == []
    store.close()


def test_a_lock_is_told_from_damage_and_from_the_word_block(folder, budget):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLockedError, match="While lock file"):
            RocksStore(folder, budget.options("lz4"))
        holder.stdin.close()
    store = RocksStore(folder, budget.options("lz4"))
    with pytest.raises(StoreLockedError, match="lock hold by current process"):
        RocksStore(folder, budget.options("lz4"))
    store.close()


@contextmanager
def limited(which, soft):
    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


def free_numbers(count):
    """The lowest numbers that no open file of this process has: below a limit there may be gaps."""
    taken = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
    return list(islice((number for number in itertools.count() if number not in taken), count))


def test_a_healthy_store_stays_when_files_are_lacking(root, folder, budget):
    said = []
    for spare in range(12):
        with limited(resource.RLIMIT_NOFILE, free_numbers(spare + 1)[spare]):
            try:
                RocksStore(folder, budget.options("lz4")).close()
            except StoreUnavailableError as error:
                said.append(str(error))
    assert len(said) > 3
    assert all(os.strerror(errno.EMFILE) in each for each in said)
    assert look_at_all(root, budget) == KEYS // 300


def test_a_healthy_store_stays_when_there_is_no_space(root, folder, budget):
    """A file that may not grow is all of a full disk that a test can make."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        store = RocksStore(folder, budget.options("lz4"))
        with limited(resource.RLIMIT_FSIZE, 4_096), pytest.raises(StoreUnavailableError, match="File too large"):
            fill(store)
        with pytest.raises(StoreUnavailableError):  # RocksDB refuses all that follows
            store.apply(batch(0))
        with pytest.raises(StoreUnavailableError):
            store.close()
    finally:
        signal.signal(signal.SIGXFSZ, before)
    store = asyncio.run(open_store(root, IDENTITY, budget, "lz4"))
    assert store.position().offset >= KEYS // 300
    store.close()


def fill(store):
    for number in range(1_000):
        store.apply(batch(number))


def test_a_folder_that_cannot_be_made_is_lacking_not_damaged(tmp_path, budget):
    (tmp_path / "person").write_text("a file")
    with pytest.raises(StoreUnavailableError, match="File exists"):
        asyncio.run(open_store(tmp_path, IDENTITY, budget, "lz4"))
    with pytest.raises(StoreUnavailableError):
        RocksStore(tmp_path / "person" / "below a file", budget.options("lz4"))


def test_no_try_to_fold_beside_a_locked_store_leaves_a_folder(root, folder, budget, monkeypatch):
    monkeypatch.setattr(rocks, "LOCK_WAIT_S", 0.0)
    store = RocksStore(folder, budget.options("lz4"))
    monkeypatch.setattr(rocks, "Rdict", refuse)
    with pytest.raises(StoreUnavailableError):
        asyncio.run(open_store(root, IDENTITY, budget, "lz4"))
    assert [path.name for path in folder.parent.iterdir()] == ["0"]
    store.close()


def refuse(folder, **_options):
    if folder.endswith("/0"):
        raise Exception(f"IO error: While lock file: {folder}/LOCK: Resource temporarily unavailable")  # noqa: TRY002
    raise Exception(f"IO error: While open a file for appending: {folder}/LOG: Too many open files")  # noqa: TRY002


def test_a_store_of_other_partitions_stops_the_shard_and_is_closed(root, budget):
    for _ in range(2):
        with pytest.raises(StoppedError):
            asyncio.run(open_store(root, identity_of("person", 0, 8, 1, "events.person"), budget, "lz4"))


WORDS = [
    # (as RocksDB 10 says it where it was provoked by hand, what it is)
    ("IO error: No space left on device: While appending to file: {}/000012.sst: No space left on device", "lacking"),
    ("IO error: While open a file for random read: {}/CURRENT: Permission denied", "lacking"),
    ("IO error: While mkdir if missing: {}: Read-only file system", "lacking"),
    (
        "Corruption: IO error: While open a file for random read: {}/9.sst: Too many open files  The file M may be",
        "lacking",
    ),
    (
        "Invalid argument: Found options incompatible with filesystem: IO error: {}/CURRENT: Too many open files",
        "lacking",
    ),
    ("Resource busy: try again", "lacking"),
    ("IO error: While pread offset 0 len 4096: {}/000009.sst: Input/output error", "damaged"),
    ("Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in {}/000009.sst", "damaged"),
    (
        "Corruption: Corruption: IO error: No such file or directory: While open a file: {}/9.sst: No such file",
        "damaged",
    ),
    ("Invalid argument: Column families not opened: other", "damaged"),
]


@pytest.mark.parametrize(("words", "kind"), WORDS)
@pytest.mark.parametrize("name", ["store", "Permission denied lock", "IO error: While lock file"])
def test_words_are_taken_for_what_they_mean_whatever_the_folder_is_called(words, kind, name):
    folder = Path("/data") / name
    error = store_error(Exception(words.format(folder)), folder)
    assert type(error) is {"lacking": StoreUnavailableError, "damaged": StoreDamagedError}[kind]
    assert str(folder) in str(error)
