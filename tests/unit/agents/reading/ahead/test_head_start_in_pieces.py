"""A head start over many events holds nobody up: no turn of the event loop looks at more than some of them."""

import asyncio

import pytest

from annals.agents.folding.restore_points import PartitionId, read_list
from annals.agents.reading.ahead import folding, unwinding
from annals.agents.reading.ahead.folding import AheadFold
from annals.agents.reading.keeping.layout import read_aggregate
from annals.agents.reading.ports import FollowedRecord
from annals.schemas.journal_reader import START, KeptEnd
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from following import Journal
from head_starts import Point

STEP = 10
PLACE = PartitionId("person", 0, 1)


class Turns:
    """Counts turns of the event loop while something runs."""

    def __init__(self) -> None:
        self.count = 0
        self._handle = asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._turned)

    def stop(self) -> None:
        self._handle.cancel()


async def test_a_long_chain_is_unwound_in_pieces(monkeypatch):
    monkeypatch.setattr(unwinding, "STEP", STEP)
    events = chain("p-1", 20 * STEP)
    taken = unwinding.Unwinding("person", set())
    taken.take(FollowedRecord(at, event.key, event.value) for at, event in enumerate(events))
    turns = Turns()
    try:
        assert await taken.end_before(b"p-1", KeptEnd(len(events), events[-1].cid)) == START
    finally:
        turns.stop()
    assert turns.count >= 19


@pytest.mark.parametrize("begin", [0, 40])
async def test_what_the_rule_comes_to_is_compared_in_pieces(monkeypatch, begin):
    monkeypatch.setattr(folding, "STEP", STEP)
    events = [event for number in range(20 * STEP) for event in chain(f"p-{number}", 1)]
    journal = Journal(events)
    point = Point(journal.records, len(events), PLACE.partitions)
    found = await read_list(point, PLACE, None, point.cid or b"", len(events))
    most = looked_at = 0

    def read(view, key):
        nonlocal looked_at, most
        looked_at += 1
        most = max(most, looked_at)
        return read_aggregate(view, key)

    def turned():
        nonlocal looked_at
        looked_at = 0
        asyncio.get_running_loop().call_soon(turned)

    monkeypatch.setattr(folding, "read_aggregate", read)
    turned()
    await AheadFold(PLACE, MemoryReadingStore(), journal, begin).open(found, point)
    assert 0 < most <= STEP
