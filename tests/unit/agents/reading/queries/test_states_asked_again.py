"""A state that was asked for is answered again from memory: as it was found, where the journal is read up to now."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.keeping.layout import AGGREGATES, EVENTS, event_key
from annals.agents.reading.ports import BrokenChainError
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from following import Clock, Damages, Journal, running, soon
from reading_stores import Stores


class Looking(MemoryReadingStore):
    """Notes the rows of events that are looked at."""

    def __init__(self):
        super().__init__()
        self.events = []

    def get(self, key):
        if key[:1] == EVENTS:
            self.events.append(key)
        return super().get(key)

    @contextmanager
    def held(self):
        yield self

    view = held


@contextmanager
def nothing_looked_at(store):
    store.events.clear()
    yield
    assert store.events == []


def shard(journal, stores):
    return Shard(REGISTRY["person"], 0, 1, stores, journal, journal, Clock(), Damages(), recent=RecentStates(1 << 20))


async def test_no_event_is_read_again_and_the_position_is_the_present_one():
    ada, stores = chain("p-1", 4), Stores()
    store = stores.store = Looking()
    journal = Journal(ada[:3])
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(3, soon())
        found = await here.state("p-1")
        assert (found.version, found.head, found.position.offset) == (3, ada[2].cid, 3)
        with nothing_looked_at(store):
            assert await here.state("p-1") == found
        journal.append(chain("p-2", 1))
        assert await here.until_offset(4, soon())
        with nothing_looked_at(store):
            again = await here.state("p-1")
        assert (again.state, again.position.offset) == (found.state, 4)
        journal.append(ada[3:])
        assert await here.until_offset(5, soon())
        newest = await here.state("p-1")
        assert (newest.version, newest.head, newest.state["name"]) == (4, ada[3].cid, "Ada 4")
        assert await here.state("p-1", version=3) == found.__class__(
            **{name: getattr(found, name) for name in found.__struct_fields__ if name != "position"},
            position=newest.position,
        )


@pytest.mark.parametrize("version", [None, 2])
async def test_rows_that_name_another_aggregates_event_are_never_answered_with_its_state(version):
    ada, bob, stores = chain("p-1", 3), chain("p-2", 3), Stores()
    journal = Journal([*ada, *bob])
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(6, soon())
        assert (await here.state("p-1", version=version)).aggregate_id == "p-1"
        rows = {
            AGGREGATES + b"p-2": stores.store.get(AGGREGATES + b"p-1"),
            event_key(b"p-2", 2): stores.store.get(event_key(b"p-1", 2)),
        }
        stores.store.apply(rows)
        with pytest.raises(BrokenChainError, match=r"person 'p-2' version \d"):
            await here.state("p-2", version=version)


async def test_a_former_version_is_not_answered_with_another_one():
    ada, stores = chain("p-1", 3), Stores()
    journal = Journal(ada)
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(3, soon())
        assert (await here.state("p-1", version=1)).version == 1
        stores.store.apply({event_key(b"p-1", 2): stores.store.get(event_key(b"p-1", 1))})
        with pytest.raises(BrokenChainError, match="person 'p-1' version 2"):
            await here.state("p-1", version=2)
