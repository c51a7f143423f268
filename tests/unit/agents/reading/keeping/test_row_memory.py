"""Rows in memory: never other ones than the store's, whatever is read and written, and bounded in bytes."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.ports import StoreUnavailableError
from annals.agents.reading.keeping import remembered
from annals.agents.reading.keeping.remembered import ENTRY_BYTES, Remembered
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.workers.stores.reading_memory import MemoryReadingStore
from reading_stores import Killed

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remembered, "MOST_BYTES", most_bytes)
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
    memories: list[Remembered[int, str]] = [Remembered() for _ in range(3)]
    for memory in memories:
        memory.age()
    for number in range(300):
        memories[number % 3].keep(number, "new", 0)
        memories[0].keep(-1, "used", 0)
        assert sum(len(memory.younger) + len(memory.older) for memory in memories) <= 2 * 21
        assert memories[0].get(-1) == "used"
    assert memories[0].get(0) is None
