"""The last events of a shard, in memory."""

import tracemalloc
from weakref import WeakSet

import pytest

from annals.agents.ports import JournalRecord
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.keeping import recent_events
from annals.agents.reading.keeping.recent_events import EVENT_BYTES, RecentEvent, RecentEvents
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No partitions but those of the test: others may not be collected yet."""
    monkeypatch.setattr(recent_events, "_OPEN", WeakSet())


def event(offset, size=10, carried=()):
    return RecentEvent(offset, b"x" * size, b"cid %d" % offset, carried)


def offsets(found):
    return None if found is None else [each.offset for each in found]


def room_for(events, size=10):
    return events * (EVENT_BYTES + size)


def test_all_from_an_offset_on_are_there_from_where_the_shard_began():
    recent = RecentEvents(7)
    assert (recent.since(6), recent.since(7), recent.last_before(9)) == (None, [], None)
    recent.add([event(8), event(11)])
    assert [offsets(recent.since(offset)) for offset in (6, 7, 8, 9, 12)] == [None, [8, 11], [8, 11], [11], []]
    assert (recent.last_before(8), recent.last_before(11).offset, recent.last_before(20).offset) == (None, 8, 11)


@pytest.mark.parametrize(("most_events", "most_bytes"), [(3, 1_000_000), (1_000, room_for(3))])
def test_the_first_of_too_many_events_or_bytes_are_forgotten(monkeypatch, most_events, most_bytes):
    monkeypatch.setattr(recent_events, "MOST_EVENTS", most_events)
    monkeypatch.setattr(recent_events, "MOST_BYTES", most_bytes)
    recent = RecentEvents(0)
    for offset in range(0, 8, 2):
        recent.add([event(offset), event(offset + 1)])
    assert [offsets(recent.since(offset)) for offset in (4, 5, 7, 8)] == [None, [5, 6, 7], [7], []]
    assert (recent.last_before(5), recent.last_before(6).offset) == (None, 5)


@pytest.mark.parametrize("large", [event(1, 31), event(1, 10, [("tracestate", b"x" * 21)])])
def test_an_event_larger_than_all_that_is_kept_is_not_kept(monkeypatch, large):
    monkeypatch.setattr(recent_events, "MOST_BYTES", room_for(1, 30))
    recent = RecentEvents(0)
    recent.add([event(0), large])
    assert (recent.since(1), recent.since(2), recent.last_before(2)) == (None, [], None)
    recent.add([event(2)])
    assert offsets(recent.since(2)) == [2]


def test_each_header_that_is_carried_on_takes_room_as_an_event_does():
    carried = [("traceparent", b""), ("tracestate", b"x" * 21)]
    assert event(1, 10, carried).size_bytes() == room_for(1) + 2 * EVENT_BYTES + 21


def test_all_partitions_of_a_process_share_a_bound(monkeypatch):
    """Goes red when a partition that was there first keeps what many need, or one that is gone still has its share."""
    monkeypatch.setattr(recent_events, "MOST_BYTES_OF_ALL", room_for(12))
    alone = RecentEvents(0)
    alone.add([event(offset) for offset in range(12)])
    assert offsets(alone.since(0)) == [*range(12)]
    others = [RecentEvents(0) for _ in range(3)]
    assert (alone.since(8), offsets(alone.since(9))) == (None, [9, 10, 11])
    for each in others:
        each.add([event(offset) for offset in range(12)])
        assert (each.since(8), offsets(each.since(9))) == (None, [9, 10, 11])
    for each in others:
        each.close()
        assert each.since(9) is None
    alone.add([event(offset) for offset in range(12, 20)])
    assert offsets(alone.since(9)) == [*range(9, 20)]


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_fold_keeps_the_bytes_of_events_and_nothing_that_is_made_of_them(is_asked):
    """Goes red when what is decoded is kept: a block of 8 KB, of empty objects, takes half a megabyte then."""
    events = chain("p-1", 40, data={"x": [{}] * 8_000})
    records = [JournalRecord(offset, each.key, each.value) for offset, each in enumerate(events)]
    fold = ReadingFold("person", 0, 1, MemoryReadingStore(), [])
    if is_asked:
        fold.keep_recent()
    fold.apply(records[:1])
    tracemalloc.start()
    fold.apply(records[1:])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3 * sum(len(each.value) for each in events)
    assert (fold.recent is not None) is is_asked
