"""Rows in memory: never other ones than the store's, whatever is read and written, and bounded in bytes."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.ports import StoreUnavailableError
from annals.agents.projections import REGISTRY
from annals.agents.reading.keeping import remembered
from annals.agents.reading.keeping.event_index import EventIndex
from annals.agents.reading.keeping.layout import ABSENT, ACTORS, TYPES
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.keeping.remembered import ENTRY_BYTES, Remembered
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.projecting.rows import ProjectionFollower
from annals.schemas.journal_reader import Counted, RememberingReader
from annals.topics.keys import keys_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from reading_stores import Killed, remembering

if TYPE_CHECKING:
    from collections.abc import Sequence

PEOPLE = REGISTRY["people_directory"]
KEYS = [b"a", b"b", b"c", b"d"]
READS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)
WRITES = st.dictionaries(st.sampled_from(KEYS), st.none() | st.sampled_from([b"", b"1", b"\0unknown"]))
STEPS = st.lists(READS | WRITES, max_size=12)


class Mortal(Killed, MemoryReadingStore):
    """A store of which one write fails."""


class Counting(MemoryReadingStore):
    """A store that counts the rows that it was asked for."""

    asked = 0

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked += len(keys)
        return super().get_many(keys)


@given(STEPS, st.sampled_from([0, 3 * ENTRY_BYTES, 1 << 20]), st.integers(0, 6))
def test_rows_are_those_of_the_store_after_every_step(
    steps: list[list[bytes] | dict[bytes, bytes | None]], most_bytes: int, writes: int
) -> None:
    store = Mortal()
    store.left, rows = writes, RowMemory(store)
    with remembering(most_bytes):
        for step in steps:
            if isinstance(step, dict):
                try:
                    rows.apply(step)
                except StoreUnavailableError:
                    store.left = 1_000
            else:
                assert rows.get_many(step) == [store.rows.get(key) for key in step]
                assert rows.get(step[0]) == store.rows.get(step[0])


def test_a_row_is_read_from_the_store_once() -> None:
    store = Counting({b"a": b"1"})
    rows = RowMemory(store)
    for _ in range(3):
        assert rows.get_many([b"a", b"b"]) == [b"1", None]
    rows.apply({b"a": b"2", b"b": b"3"})
    assert [rows.get(b"a"), rows.get(b"b")] == [b"2", b"3"]
    assert store.asked == 2


def test_all_memories_together_are_bounded_and_what_is_not_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(remembered, "MOST_BYTES", 20 * ENTRY_BYTES)
    memories: list[Remembered[str]] = [Remembered(len) for _ in range(3)]
    for memory in memories:
        memory.age()
    for number in range(300):
        memories[number % 3].keep(b"%d" % number, "")
        memories[0].keep(b"used", "used")
        assert sum(len(memory.younger) + len(memory.older) for memory in memories) <= 2 * 21
        assert memories[0].get(b"used", None) == "used"
    assert memories[0].get(b"0", None) is None


def held_bytes(*memories: Remembered[Any]) -> int:
    """The bytes of keys and rows that are remembered."""
    generations = [generation for memory in memories for generation in (memory.younger, memory.older)]
    rows = [(key, row[0] if isinstance(row, tuple) else row) for each in generations for key, row in each.items()]
    return sum(len(key) + len(row or b"") for key, row in rows)


@pytest.fixture
def most_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes that all memories may hold, in both generations, with one entry more."""
    gc.collect()
    monkeypatch.setattr(remembered, "MOST_BYTES", 1 << 20)
    return (2 << 20) + (1 << 17)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(KEYS), st.integers(0, 700), st.booleans()), max_size=40),
    st.integers(0, 3_000),
)
def test_whatever_is_kept_and_changed_all_memories_together_are_bounded(
    steps: list[tuple[int, bytes, int, bool]], most_bytes: int
) -> None:
    gc.collect()
    memories: list[Remembered[bytes]] = [Remembered(len) for _ in range(2)]
    newest: list[dict[bytes, bytes]] = [{}, {}]
    with remembering(most_bytes):
        for which, key, size, is_kept in steps:
            memory, value = memories[which], bytes(size)
            if is_kept:
                memory.keep(key, value)
                newest[which][key] = value
            elif memory.get(key, None) is not None:
                memory.change({key: value, b"another": value})
                newest[which][key] = value
            assert memory.get(key, None) in {None, newest[which].get(key)}
            entries = sum(len(each.younger) + len(each.older) for each in memories)
            assert held_bytes(*memories) + entries * ENTRY_BYTES <= 3 * most_bytes


@pytest.mark.parametrize("length", [1_000, 50_000, 900_000])
def test_keys_of_rows_that_are_not_there_are_counted(length: int, most_bytes: int) -> None:
    rows = RowMemory(MemoryReadingStore())
    for number in range(5_000_000 // length):
        assert rows.get(b"%d" % number + bytes(length)) is None
        assert held_bytes(rows._rows) <= most_bytes


@pytest.mark.parametrize("between", [0, 5_000])
def test_rows_that_grow_are_counted_in_whatever_generation_they_are(between: int, most_bytes: int) -> None:
    rows = RowMemory(MemoryReadingStore())
    keys = [b"%d" % number for number in range(500)]
    for size in (1, 1_000, 20_000, 100_000):
        rows.get_many(keys)
        for other in range(between):
            rows.get(b"other %d" % other)
        rows.apply(dict.fromkeys(keys, bytes(size)))
        assert held_bytes(rows._rows) <= most_bytes
        assert rows.get_many(keys) == [bytes(size)] * len(keys)


def fold_people(follower: ProjectionFollower[Any], rows: RowMemory, ids: Sequence[str], name: str) -> None:
    """Fold an event of each that has this name from then on."""
    for at, aggregate_id in enumerate(ids):
        (event,) = chain(aggregate_id, 1, type_name="PersonRegistered", data={"name": name})
        counted = RememberingReader("person", keys_of(0, 1)).read(at, event.key, event.value)
        assert isinstance(counted, Counted)
        overlay = Overlay(rows)
        follower.fold([counted], 0, overlay)
        rows.apply(overlay.changes)


def test_rows_that_are_put_again_and_larger_are_counted(most_bytes: int) -> None:
    rows, follower = RowMemory(MemoryReadingStore()), ProjectionFollower(PEOPLE, DECIDERS)
    for size in (1, 1_000, 20_000):
        fold_people(follower, rows, [f"p-{number}" for number in range(100)], "a" * size)
        assert held_bytes(rows._rows, follower._lately) <= most_bytes


@pytest.mark.parametrize("size", [10_000, 100_000, 500_000])
def test_a_few_large_rows_do_not_drive_out_all_others(size: int, most_bytes: int) -> None:
    hot, store = [b"hot %d" % number for number in range(100)], Counting()
    others = RowMemory(store)
    others.get_many(hot)
    rows, follower = RowMemory(MemoryReadingStore()), ProjectionFollower(PEOPLE, DECIDERS)
    for _ in range(10):
        fold_people(follower, rows, ["p-1", "p-2"], "a" * size)
    others.get_many(hot)
    assert store.asked == len(hot)
    assert held_bytes(others._rows, rows._rows, follower._lately) <= most_bytes


def test_texts_of_indexes_are_counted(most_bytes: int) -> None:
    rows, follower = RowMemory(MemoryReadingStore()), ProjectionFollower(PEOPLE, DECIDERS)
    words = " ".join(f"{number:x}" for number in range(1_000))
    fold_people(follower, rows, [f"p-{number}" for number in range(100)], words)
    puts = [put for generation in (follower._lately.younger, follower._lately.older) for put in generation.values()]
    texts = [text for _, indexes, _ in puts for texts in indexes.values() for text in texts]
    assert len(puts) > 10
    assert sum(sys.getsizeof(text) for text in texts) <= most_bytes


def test_long_types_and_actors_are_not_remembered() -> None:
    index, rows = EventIndex(), Overlay(MemoryReadingStore())
    for length in (10, 100_000):
        (event,) = chain("p-1", 1, type_name="t" * length, actor="a" * length)
        counted = RememberingReader("person", keys_of(0, 1)).read(0, event.key, event.value)
        assert isinstance(counted, Counted)
        index.fold([msgspec.structs.replace(counted, last=ABSENT)], [event.value], rows)
    assert [len(key) for key in rows.changes if key[:1] in {TYPES, ACTORS}] == [23, 23, 100_013, 100_013]
    assert [len(text) for texts in (index._types, index._actors) for text in texts] == [10, 10]
