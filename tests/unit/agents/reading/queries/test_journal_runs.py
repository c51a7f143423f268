"""Runs of the journal out of a reading shard: every event that counts, in order, with what is carried on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import Delivery
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.keeping.layout import EVENTS, event_key
from annals.agents.reading.ports import BrokenChainError, NotReadyError
from annals.agents.reading.queries import run
from annals.topics.carried import carried_headers
from chained import TRACE, chain
from following import Clock, Damages, Fetched, Journal, running, soon, until
from reading_stores import Stores


def shard(journal: Journal, stores: Stores) -> Shard:
    return Shard(REGISTRY["person"], 0, 1, stores, journal, journal, Clock(), Damages())


@asynccontextmanager
async def opened_again(journal: Journal, stores: Stores) -> AsyncIterator[Shard]:
    """A shard that has read the journal before: what it folded then is in the store alone."""
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(len(journal.records), soon())
    async with running(shard(journal, stores), journal) as here:
        assert await here.until_offset(len(journal.records), soon())
        yield here


async def test_runs_have_each_event_that_counts_once_and_in_order():
    ada, bob = chain("p-1", 5), chain("p-2", 4)
    journal = Journal([*ada[:2], ada[0], *bob[:2], *ada[2:], *bob[2:]])  # the third is void: it is there already
    counted = [(offset, record.value) for offset, record in enumerate(journal.records) if offset != 2]
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(10, soon())
        for limit in (1, 3, 100):
            found, offset = [], 0
            while (part := await here.events_from(offset, limit)).next_offset > offset:
                assert len(part.events) <= limit
                found += [(event.offset, event.block) for event in part.events]
                offset = part.next_offset
            assert (found, offset) == (counted, 10)
        assert await here.last_before(0) is None
        assert await here.last_before(3) == ada[1].cid
        assert await here.last_before(10) == bob[3].cid
        with pytest.raises(NotReadyError, match="read up to offset 10, not to 11"):
            await here.last_before(11)  # a publisher that took the answer for all would have lost where it stands


async def test_a_run_to_the_end_ends_behind_the_markers_that_stand_there():
    ada = chain("p-1", 3)
    journal = Journal(ada[:2])
    journal.mark()
    async with running(shard(journal, Stores()), journal) as here:
        assert await here.until_offset(3, soon())
        assert here.status().offset == 3
        for offset, limit, expected in ((0, 1, (1, 1)), (0, 2, (2, 2)), (0, 3, (2, 3)), (2, 1, (0, 3)), (3, 1, (0, 3))):
            part = await here.events_from(offset, limit)
            assert (len(part.events), part.next_offset) == expected, (offset, limit)
        journal.append(ada[2:])
        assert await here.until_offset(4, soon())
        part = await here.events_from(3, 1)
        assert ([event.cid for event in part.events], part.next_offset) == ([ada[2].cid], 4)


async def test_a_run_ends_early_where_its_blocks_are_large(monkeypatch):
    monkeypatch.setattr(run, "RUN_BYTES", 300)
    async with opened_again(Journal(chain("p-1", 5)), Stores()) as here:
        part = await here.events_from(0, 100)
        assert 0 < len(part.events) < 5
        assert part.next_offset == len(part.events)


async def test_whoever_copies_is_woken_by_what_is_read():
    journal = Journal(chain("p-1", 2))
    async with running(shard(journal, Stores()), journal) as here:
        async with asyncio.timeout(30):
            await here.until_behind(1)
            waiting = asyncio.create_task(here.until_behind(2))
            await asyncio.sleep(0)
            assert not waiting.done()
            journal.append(chain("p-2", 1))
            await waiting


async def test_what_goes_with_an_event_is_kept():
    (event,) = chain("p-1", 1)
    headers = [*event.headers, ("traceparent", TRACE), ("ce_annalsvia", b"here"), ("other", b"x")]
    journal = Journal()
    async with running(shard(journal, Stores()), journal) as here:
        await until(lambda: here.status().phase == "reading")
        here.deliver(Delivery("events.person", 0, journal.generation, [Fetched(0, event.key, event.value, headers)]))
        assert await here.until_offset(1, soon())
        (found,) = (await here.events_from(0, 10)).events
        assert dict(found.carried) == {"traceparent": TRACE, "ce_annalsvia": b"here"}


async def test_a_row_that_is_not_its_event_is_named():
    stores, journal = Stores(), Journal(chain("p-1", 2))
    async with opened_again(journal, stores) as here:
        key = event_key(b"p-1", 2)
        value = stores.store.get(key)
        assert key.startswith(EVENTS)
        stores.store.apply({key: value[:-1] + b"\x00"})
        with pytest.raises(BrokenChainError, match="person 'p-1' version 2"):
            await here.events_from(0, 10)


@pytest.mark.parametrize("via", [b"", b"A", b"a,,b", b",".join([b"x"] * 9), b"a" * 65, None])
def test_what_is_not_valid_is_left_behind(via):
    assert carried_headers([("ce_annalsvia", via), ("traceparent", b"no"), ("tracestate", b"a=b")]) == []
