"""The fold of a partition of a stream: who is behind is handed what lies before the position, and nothing twice."""

from dataclasses import replace

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.found import JournalEvent
from annals.agents.reading.projecting.rows import KeptRows, ProjectionFollower
from annals.agents.reading.streams.rekeyed_fold import RekeyedFold
from annals.schemas.chain import read_block
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from rekeyed_rows import GATHERED, PLACE

NEWER = replace(GATHERED, version=2)
ID = bytes(16)
EVENTS = [
    JournalEvent(2 * offset, read_block("person", each.value), each.value, each.cid, ())
    for offset, each in enumerate(
        sealed for name in ("p-1", "p-2", "p-3", "p-4", "p-5", "p-6") for sealed in chain(name, 1)
    )
]
"""Each of another aggregate, all of one key; behind each there is a transaction's marker."""


def follower(projection):
    return ProjectionFollower(projection, REGISTRY)


def seen(store, projection):
    row = KeptRows(projection, store).get("command-1")
    return [] if row is None else [each.partition("@")[0] for each in row.seen]


@pytest.mark.parametrize("at_once", range(1, 7))
def test_who_is_behind_folds_each_event_before_the_position_once_and_goes_on_with_all(at_once):
    store = MemoryReadingStore()
    fold = RekeyedFold(PLACE, 0, store, [follower(GATHERED)])
    fold.apply(EVENTS[:4], 8, ID)
    fold.follow([follower(GATHERED), follower(NEWER)])
    while (behind := fold.behind()) is not None:
        assert behind.name == "gathering/2"
        left = [each for each in EVENTS if each.offset >= behind.offset]  # what the stream has by now
        run = left[:at_once]
        fold.catch_up(behind.name, run, run[-1].offset + 2, is_end=len(run) == len(left))
    assert seen(store, NEWER) == ["p-1", "p-2", "p-3", "p-4"]
    fold.apply(EVENTS[4:], 12, ID)
    assert seen(store, NEWER) == seen(store, GATHERED) == [f"p-{number}" for number in range(1, 7)]
    assert fold.stale == {}


def test_who_is_given_up_stays_where_it_is_and_says_why_until_it_is_resumed():
    store = MemoryReadingStore()
    fold = RekeyedFold(PLACE, 0, store, [follower(GATHERED)])
    fold.apply(EVENTS[:2], 4, ID)
    fold.follow([follower(GATHERED), follower(NEWER)])
    fold.give_up("gathering/2", "events are gone")
    assert fold.stale == {"gathering/2": "gathering/2 failed on what it folds: events are gone"}
    assert fold.behind() is None
    fold.apply(EVENTS[2:3], 6, ID)
    assert (len(seen(store, GATHERED)), seen(store, NEWER)) == (3, [])
    fold.resume("gathering/2")
    assert fold.behind() == ("gathering/2", 0)


def test_it_goes_on_where_its_store_stands_and_knows_of_which_topic_it_is():
    store = MemoryReadingStore()
    RekeyedFold(PLACE, 0, store, [follower(GATHERED)]).apply(EVENTS[:3], 6, ID)
    again = RekeyedFold(PLACE, 0, store, [follower(GATHERED)])
    assert (again.position.offset, again.position.last_offset, again.position.last_cid) == (6, 4, EVENTS[2].cid)
    assert again.topic_id == ID
    again.apply((), 9, None)  # markers alone
    assert (again.position.offset, again.position.last_cid, again.topic_id) == (9, EVENTS[2].cid, ID)
