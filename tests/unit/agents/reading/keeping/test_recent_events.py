"""The last events of a shard, in memory."""

import pytest

from annals.agents.reading.found import JournalEvent
from annals.agents.reading.keeping import recent_events
from annals.agents.reading.keeping.recent_events import RecentEvents


def event(offset, size=10):
    return JournalEvent(offset, {}, b"x" * size, b"cid %d" % offset, ())


def offsets(found):
    return None if found is None else [each.offset for each in found]


def test_all_from_an_offset_on_are_there_from_where_the_shard_began():
    recent = RecentEvents(7)
    assert (recent.since(6), recent.since(7), recent.last_before(9)) == (None, [], None)
    recent.add([event(8), event(11)])
    assert [offsets(recent.since(offset)) for offset in (6, 7, 8, 9, 12)] == [None, [8, 11], [8, 11], [11], []]
    assert (recent.last_before(8), recent.last_before(11).offset, recent.last_before(20).offset) == (None, 8, 11)


@pytest.mark.parametrize(("most_events", "most_bytes"), [(3, 1_000), (1_000, 30)])
def test_the_first_of_too_many_events_or_bytes_are_forgotten(monkeypatch, most_events, most_bytes):
    monkeypatch.setattr(recent_events, "MOST_EVENTS", most_events)
    monkeypatch.setattr(recent_events, "MOST_BYTES", most_bytes)
    recent = RecentEvents(0)
    for offset in range(0, 8, 2):
        recent.add([event(offset), event(offset + 1)])
    assert [offsets(recent.since(offset)) for offset in (4, 5, 7, 8)] == [None, [5, 6, 7], [7], []]
    assert (recent.last_before(5), recent.last_before(6).offset) == (None, 5)


def test_an_event_larger_than_all_that_is_kept_is_not_kept(monkeypatch):
    monkeypatch.setattr(recent_events, "MOST_BYTES", 30)
    recent = RecentEvents(0)
    recent.add([event(0), event(1, 31)])
    assert (recent.since(1), recent.since(2), recent.last_before(2)) == (None, [], None)
    recent.add([event(2)])
    assert offsets(recent.since(2)) == [2]
