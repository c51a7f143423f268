"""A reading store is closed behind the threads that read it, whatever becomes of those who asked."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest
import structlog

from annals.agents.reading.keeping.open_store import OpenStore
from annals.workers.stores.reading import RocksReadingStore
from annals.workers.stores.rocks import StoreBudget

BUDGET = StoreBudget(8 << 20, 4 << 20)
KEYS = 1_000


class Closing:
    """Closes a store. found: keys that were read; read_before: how many of them when it was to be closed."""

    def __init__(self):
        self.found, self.read_before, self.failures = [], None, []

    async def close(self, store):
        self.read_before = len(self.found)
        await asyncio.to_thread(store.close)


@pytest.fixture
def closing():
    return Closing()


@pytest.fixture
def opened(tmp_path, closing):
    opened = OpenStore(closing, "person-0", closing.failures.append, structlog.get_logger())
    opened.store = RocksReadingStore(tmp_path / "store", BUDGET.options("lz4"))
    opened.store.apply({b"k%04d" % number: b"1" for number in range(KEYS)})
    return opened


async def test_a_store_is_closed_behind_the_thread_of_a_question_that_nobody_waits_for_any_more(
    opened, closing, tmp_path
):
    """Goes red when the end of who asked counts: a database that is read cannot be closed, and keeps its lock."""
    began, go_on = Event(), Event()

    def read(view):
        for key, _ in view.range(b"k", b"l"):
            closing.found.append(key)
            began.set()
            assert go_on.wait(60)

    asking = asyncio.ensure_future(opened.ask(read, lambda: "closed"))
    assert await asyncio.to_thread(began.wait, 60)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    ending = asyncio.ensure_future(opened.close())
    for _ in range(10):
        await asyncio.sleep(0)
    go_on.set()
    await ending
    assert (closing.read_before, closing.failures) == (KEYS, [])
    RocksReadingStore(tmp_path / "store", BUDGET.options("lz4")).close()  # nobody has its lock


async def test_what_a_question_raises_reaches_who_asked_and_the_store_is_closed(opened, closing, tmp_path):
    def fail(view):
        raise LookupError(view.get(b"k0001"))

    with pytest.raises(LookupError, match="1"):
        await opened.ask(fail, lambda: "closed")
    await opened.close()
    assert closing.read_before == 0
    RocksReadingStore(tmp_path / "store", BUDGET.options("lz4")).close()
