"""What every reading store promises: one suite, run on memory, on RocksDB, and on that with rows in memory."""

from threading import Event, Thread

import pytest

from annals.agents.ports import Position
from annals.agents.reading.keeping.layout import POSITION, WRITTEN_ONCE, encode_position, read_position
from annals.agents.reading.keeping.remembered import ENTRY_BYTES
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.workers.stores import reading
from annals.workers.stores.reading import ROWS_AT_ONCE, RocksReadingStore
from annals.workers.stores.reading_memory import MemoryReadingStore
from annals.workers.stores.rocks import StoreBudget
from reading_stores import remembering

MANY = {b"k%04d" % number: b"%d" % number for number in range(3 * ROWS_AT_ONCE)}


@pytest.fixture(params=["memory", "rocksdb", "remembered", "remembered and forgotten"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryReadingStore()
        return
    store = RocksReadingStore(tmp_path / "store", StoreBudget(8 << 20, 4 << 20).options("lz4"))
    with remembering(3 * ENTRY_BYTES if "forgotten" in request.param else 1 << 20):
        yield store if request.param == "rocksdb" else RowMemory(store)
    store.close()


def test_a_new_store_is_empty_and_at_the_start(store):
    assert store.get(b"k") is None
    assert list(store.range(b"", b"\xff")) == []
    assert read_position(store) == Position(0, -1, b"")


def test_rows_and_the_position_are_written_together(store):
    position = Position(7, 6, b"c" * 36)
    store.apply({b"k": b"", b"l": b"1", POSITION: encode_position(position)})
    assert store.get_many([b"l", b"none", b"k", b"l"]) == [b"1", None, b"", b"1"]
    assert store.get_many([]) == []
    assert read_position(store) == position
    store.apply({b"k": None, b"none": None, b"l": b"2"})
    assert store.get_many([b"k", b"l"]) == [None, b"2"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_range_is_in_order_with_its_first_and_without_its_last(store, reverse):
    store.apply(MANY)
    whole = sorted(MANY.items())
    for first, last in ((0, 384), (1, 128), (0, 129), (100, 300), (5, 5), (200, 10)):
        found = list(store.range(b"k%04d" % first, b"k%04d" % last, reverse=reverse))
        assert found == (whole[first:last][::-1] if reverse else whole[first:last])
        assert list(store.keys(b"k%04d" % first, b"k%04d" % last, reverse=reverse)) == [key for key, _ in found]


@pytest.mark.parametrize("reverse", [False, True])
def test_ranges_of_large_rows_are_read_a_few_at_a_time(store, monkeypatch, reverse):
    """Goes red when whoever wants the first of many large rows reads a hundred of them, or holds as many."""
    read = []

    def some(*args, **options):
        rows, following = parts(*args, **options)
        read.append(len(rows))
        return rows, following

    parts = reading._some  # what stands for a part of RocksDB's rows; the store in memory has all of them anyhow
    monkeypatch.setattr(reading, "_some", some)
    store.apply({key: value.ljust(100) for key, value in MANY.items()})
    assert next(store.range(b"k", b"l", reverse=reverse))[0] == (max(MANY) if reverse else min(MANY))
    assert read in ([], [1])
    monkeypatch.setattr(reading, "BYTES_AT_ONCE", 300)
    whole = sorted((key, value.ljust(100)) for key, value in MANY.items())
    assert list(store.range(b"k", b"l", reverse=reverse)) == (whole[::-1] if reverse else whole)
    assert set(read) <= {0, 1, 2, 3}


def test_a_view_stays_as_it_was(store):
    store.apply(MANY)
    with store.view() as view:
        store.apply({b"k0001": b"other", b"k0002": None, b"k0003x": b"new"})
        assert view.get_many([b"k0001", b"k0002", b"k0003x"]) == [b"1", b"2", None]
        assert list(view.range(b"k", b"l")) == sorted(MANY.items())
        assert list(view.range(b"k", b"l", reverse=True)) == sorted(MANY.items(), reverse=True)
    assert store.get_many([b"k0001", b"k0002", b"k0003x"]) == [b"other", None, b"new"]


def test_a_view_gives_many_rows_whether_they_can_change_or_not(store):
    """Goes red when rows that change are taken from the store itself, and not as they were."""
    store.apply({**MANY, **{space + b"1": space for space in WRITTEN_ONCE}})
    with store.view() as view:
        store.apply({b"k0001": b"other", b"k0002": None})
        assert view.get_many([b"e1", b"e2", b"o1", b"x1", b"e1"]) == [b"e", None, b"o", b"x", b"e"]
        assert view.get_many([b"e1", b"k0001", b"k0002"]) == [b"e", b"1", b"2"]
        assert view.get_many([]) == []


def test_ranges_of_a_view_do_not_disturb_one_another(store):
    store.apply(MANY)
    with store.view() as view:
        pairs = list(zip(view.range(b"k", b"l"), view.range(b"k", b"l", reverse=True), strict=True))
    assert [one for one, _ in pairs] == [other for _, other in reversed(pairs)] == sorted(MANY.items())


def test_a_batch_that_fails_leaves_nothing(store):
    with pytest.raises((TypeError, ValueError)):
        store.apply({b"k": b"1", b"l": "no bytes"})
    assert store.get(b"k") is None


def test_rows_that_are_held_are_not_written_to_meanwhile(store):
    store.apply(MANY)
    began = Event()

    def write():
        began.set()
        store.apply({b"k0001": b"other", b"k0002": None})

    writer = Thread(target=write)
    with store.held() as rows:
        writer.start()
        assert began.wait(60)
        assert rows.get_many([b"k0001", b"k0002", b"none"]) == [b"1", b"2", None]
        assert list(rows.range(b"k", b"l")) == sorted(MANY.items())
    writer.join(60)
    assert store.get_many([b"k0001", b"k0002"]) == [b"other", None]
