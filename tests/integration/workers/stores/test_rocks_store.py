"""RocksDB as the shard store: what only a store on disk can promise."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from annals.agents.ports import Changes, Position, StoppedError, Stored
from annals.workers.stores import rocks
from annals.workers.stores.reading import RocksReadingStore
from annals.workers.stores.rocks import RocksStore, StoreBudget, identity_of, open_store, renew_store

HEAD = b"\x01\x71\x1e\x20" + bytes(32)
ADA = Stored(1, HEAD, "2026-11-21T09:30:00.000000Z", b"state")
AT_SEVEN = Changes({b"p-1": ADA}, {}, {}, Position(7, 6, HEAD))
IDENTITY = identity_of("person", 0, 4, 1, "events.person")

HOLD = """
import sys
from pathlib import Path
from annals.workers.stores.rocks import RocksStore, StoreBudget
store = RocksStore(Path(sys.argv[1]), StoreBudget(8 << 20, 4 << 20).options("lz4"))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def budget():
    return StoreBudget(8 << 20, 4 << 20)


def opened(root, budget, identity=IDENTITY):
    return asyncio.run(open_store(root, identity, budget, "lz4"))


def folders(root):
    return sorted(path.name for path in (root / "person").iterdir())


def test_a_store_is_as_it_was_after_closing_and_opening(tmp_path, budget):
    store = opened(tmp_path, budget)
    store.apply(AT_SEVEN)
    store.close()
    store = opened(tmp_path, budget)
    assert store.position() == AT_SEVEN.position
    assert store.aggregate(b"p-1") == ADA
    store.close()


@pytest.mark.parametrize("type_", [RocksStore, RocksReadingStore])
def test_a_store_that_is_opened_again_has_its_filter_and_the_cache_of_all_stores(tmp_path, budget, type_):
    """Left to itself, the binding takes them from RocksDB's own file of options, which names neither."""
    for _ in range(3):
        store = type_(tmp_path, budget.options("lz4"))
        capacity = store._db.property_int_value("rocksdb.block-cache-capacity")
        store.close()
        newest = max(tmp_path.glob("OPTIONS-*")).read_text()
        assert (capacity, "filter_policy=bloomfilter" in newest) == (8 << 20, True)


def test_a_closed_store_survives_kill_9(tmp_path, budget):
    program = HOLD
    store = opened(tmp_path, budget)
    store.apply(AT_SEVEN)
    store.close()
    folder = tmp_path / "person" / "0"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    store = opened(tmp_path, budget)
    assert store.position() == AT_SEVEN.position
    store.close()


def test_while_another_process_holds_the_lock_the_fold_begins_beside_it(tmp_path, budget, monkeypatch):
    monkeypatch.setattr(rocks, "LOCK_WAIT_S", 0.1)
    opened(tmp_path, budget).close()
    folder = tmp_path / "person" / "0"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        beside = opened(tmp_path, budget)
        assert beside.folder.name.startswith("0.")
        beside.apply(AT_SEVEN)
        beside.close()
        holder.stdin.close()
        holder.wait()
    # free again: the one that is folded furthest stays, the other goes
    store = opened(tmp_path, budget)
    assert store.position() == AT_SEVEN.position
    assert len(folders(tmp_path)) == 1
    store.close()


def test_a_store_of_another_state_version_is_begun_anew(tmp_path, budget):
    store = opened(tmp_path, budget)
    store.apply(AT_SEVEN)
    store.close()
    store = opened(tmp_path, budget, identity_of("person", 0, 4, 2, "events.person"))
    assert store.position().offset == 0
    assert store.aggregate(b"p-1") is None
    store.close()


def test_a_store_of_another_number_of_partitions_stops_the_shard(tmp_path, budget):
    opened(tmp_path, budget).close()
    with pytest.raises(StoppedError, match=r"4 partitions; now it has 8.*recreate the topics with 4"):
        opened(tmp_path, budget, identity_of("person", 0, 8, 1, "events.person"))


def test_a_renewed_store_is_empty_and_knows_what_it_is(tmp_path, budget):
    store = opened(tmp_path, budget)
    store.apply(AT_SEVEN)
    store = asyncio.run(renew_store(store, IDENTITY, budget, "lz4"))
    assert store.position().offset == 0
    assert store.identity() == IDENTITY
    assert store.size_bytes() > 0
    store.close()


def test_stores_of_one_process_keep_to_one_budget(tmp_path, budget):
    stores = [RocksStore(Path(tmp_path / str(n)), budget.options("none")) for n in range(3)]
    for store in stores:
        store.apply(AT_SEVEN)
        store.close()
    assert budget.cache.get_usage() <= 8 << 20
