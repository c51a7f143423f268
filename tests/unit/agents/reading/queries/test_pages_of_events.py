"""Pages of events out of the store: each is held to its CID and its link, and their rows are read a few at a time."""

from __future__ import annotations

import pytest
from libipld import encode_dag_cbor

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import JournalRecord
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.found import EventFilter
from annals.agents.reading.keeping import blocks
from annals.agents.reading.keeping.blocks import AT_ONCE, FIRST_ROWS
from annals.agents.reading.keeping.layout import EVENTS, NUMBER, OFFSETS, decode_event, event_key, offset_key
from annals.agents.reading.keeping.personal import StateParts
from annals.agents.reading.keeping.states import States
from annals.agents.reading.ports import BrokenChainError
from annals.agents.reading.queries import aggregates as listing
from annals.agents.reading.queries import find as finding
from annals.agents.reading.queries.aggregates import aggregates
from annals.agents.reading.queries.events import Place, by_offset, history
from annals.agents.reading.queries.find import find
from annals.agents.reading.queries.run import events_at, placed_from, run_from
from annals.agents.reading.snapshots.kept import KeptSnapshots
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.schemas.chain import decode_again
from annals.schemas.cid import cid_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain

PLACE = Place("person", 0)
EVENTS_EACH = 40
IDS = ("p-1", "p-2", "p-3")
WANTED = EventFilter(types=("PersonRenamed",))


class Counting(MemoryReadingStore):
    """Counts what is looked up of events: how many rows at once, each time."""

    def __init__(self, rows=None):
        super().__init__(rows)
        self.asked = []

    def get(self, key):
        if key[:1] in {EVENTS, OFFSETS}:
            self.asked.append(1)
        return super().get(key)

    def get_many(self, keys):
        self.asked.append(len(keys))
        return super().get_many(keys)


@pytest.fixture
def rows():
    """The rows of three aggregates, whose events come in turns."""
    store = MemoryReadingStore()
    events = zip(*(chain(name, EVENTS_EACH) for name in IDS), strict=True)
    records = [(each.key, each.value) for turn in events for each in turn]
    ReadingFold("person", 0, 1, store, []).apply(
        [JournalRecord(offset, key, value) for offset, (key, value) in enumerate(records)]
    )
    return store.rows


def page(view, start=0, limit=100, *, descending=False):
    return find(view, PLACE, WANTED, start=start, descending=descending, limit=limit)


def test_a_page_looks_its_events_up_a_few_at_a_time(rows):
    """Goes red when each event takes look-ups of its own, or when all of a page, which may be large, are held."""
    store = Counting(rows)
    found = page(store)
    assert [event.offset for event in found.events] == list(range(100))
    assert len(store.asked) < 100 / 4
    assert max(store.asked) <= 2 * AT_ONCE


@pytest.mark.parametrize("descending", [False, True])
def test_large_events_are_looked_up_one_by_one_behind_the_first_two(rows, monkeypatch, descending):
    """Goes red when sixteen of a megabyte each, and the whole events before them, are held for a page of eight."""
    monkeypatch.setattr(blocks, "FEW_BYTES", 1)
    store, start = Counting(rows), len(IDS) * EVENTS_EACH - 1 if descending else 0
    assert len(page(store, start, descending=descending).events) == 100
    assert max(store.asked) <= 2 * FIRST_ROWS
    assert max(store.asked[10:]) <= 2
    for read in (
        lambda view: run_from(view, PLACE, 0, 100, 0).events,
        lambda view: events_at(view, PLACE, range(100)),
        lambda view: placed_from(view, 0, 100),
    ):
        store = Counting(rows)
        assert len(read(store)) == 100
        assert max(count for count in store.asked if count < 100) <= FIRST_ROWS
        assert len(store.asked) > 50


@pytest.mark.parametrize("descending", [False, True])
def test_an_event_is_looked_up_once_where_the_one_behind_it_is_there_too(descending):
    """Goes red when the event before each one is read again, whole, for its CID alone."""
    store = MemoryReadingStore()
    ReadingFold("person", 0, 1, store, []).apply(
        [JournalRecord(offset, each.key, each.value) for offset, each in enumerate(chain("p-1", EVENTS_EACH))]
    )
    store = Counting(store.rows)
    assert len(page(store, EVENTS_EACH - 1 if descending else 0, descending=descending).events) == EVENTS_EACH
    assert sum(store.asked) <= 2 * EVENTS_EACH + len(store.asked)


def test_large_events_of_several_aggregates_are_read_once_each(rows, monkeypatch):
    monkeypatch.setattr(blocks, "FEW_BYTES", 1)
    store = Counting(rows)
    assert len(page(store).events) == 100
    assert sum(store.asked) <= 2 * 100 + 10


def test_a_short_page_reads_no_more_than_it_needs(rows):
    store = Counting(rows)
    assert [event.offset for event in page(store, 5, 1).events] == [5]
    assert sum(store.asked) < AT_ONCE


def test_a_run_looks_its_events_up_a_few_at_a_time(rows):
    store = Counting(rows)
    assert [event.offset for event in run_from(store, PLACE, 0, 100, 0).events] == list(range(100))
    assert len(store.asked) < 100 / 4
    assert max(store.asked) <= AT_ONCE


@pytest.mark.parametrize("limit", [1, AT_ONCE - 1, AT_ONCE, 100, 1_000])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_have_each_event_once_whatever_is_read_at_once(rows, limit, descending):
    store, found = MemoryReadingStore(rows), []
    start = len(IDS) * EVENTS_EACH - 1 if descending else 0
    while not (part := page(store, start, limit, descending=descending)).is_end:
        found += part.events
        start = part.next_offset
    found += part.events
    offsets = [event.offset for event in found]
    assert offsets == sorted(range(len(IDS) * EVENTS_EACH), reverse=descending)
    assert all(event.cid == cid_of(event.block) for event in found)


def encoded(offset, cid, block):
    return offset.to_bytes(NUMBER, "big") + cid + block


def no_event(row):
    block = b"\x63abc"
    return encoded(row.offset, cid_of(block), block)


def changed(**members):
    """What makes a row whose block has other members (None: without one) under a CID of its own."""

    def change(row):
        event = {**decode_again(row.block), **members}
        block = encode_dag_cbor({name: event[name] for name in event if members.get(name, "") is not None})
        return encoded(row.offset, cid_of(block), block)

    return change


def elsewhere(row):
    return encoded(row.offset + 1, row.cid, row.block)


def another_block(row):
    return encoded(row.offset, row.cid, row.block[:-1] + b"\x00")


@pytest.mark.parametrize(
    ("version", "change", "said"),
    [
        (5, no_event, "'p-2' version 5, offset 13: it is no event"),
        (5, elsewhere, "is not at offset 13, where it was found"),
        (5, another_block, "'p-2' version 5, offset 13: its block is not that of"),
        (5, None, "'p-2' version 5: the event is missing"),
        (4, None, "'p-2' version 4, partition 0: the event is missing"),
    ],
)
def test_a_row_that_is_not_its_event_is_named(rows, version, change, said):
    key = event_key(b"p-2", version)
    value = rows.pop(key)
    if change is not None:
        rows[key] = change(decode_event(value))
    for ask in (lambda view: by_offset(view, PLACE, 13), lambda view: page(view, 13)):
        with pytest.raises(BrokenChainError, match=said):
            ask(MemoryReadingStore(rows))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        *(({name: None}, "it is no event") for name in ("previous", "type", "data", "actor")),
        *(({name: 7}, "it is no event") for name in ("type", "recorded_at", "data", "correlation_id")),
        ({"data": "a text"}, "it is no event"),
        ({"kind": "agent"}, "it is agent 'p-2' version 5"),
    ],
)
def test_a_row_of_another_form_whose_cid_was_made_anew_is_named(rows, members, said):
    """Goes red when a block of its own CID is believed to have the form of an event: what reads its members fails."""
    key = event_key(b"p-2", 5)
    rows[key] = changed(**members)(decode_event(rows[key]))
    for ask in (
        lambda view: by_offset(view, PLACE, 13),
        lambda view: page(view, 13),
        lambda view: run_from(view, PLACE, 13, 1, 0),
        lambda view: history(view, PLACE, b"p-2", 5, 5, descending=False, limit=None),
        lambda view: history(view, PLACE, b"p-2", 5, 5, descending=True, limit=None),
    ):
        with pytest.raises(BrokenChainError, match=f"person 'p-2' version 5, offset 13: {said}"):
            ask(MemoryReadingStore(rows))


def test_an_event_whose_link_is_to_another_is_named(rows):
    rows[event_key(b"p-2", 4)] = rows[event_key(b"p-3", 4)]
    with pytest.raises(BrokenChainError, match=r"'p-2' version 5, partition 0, offset 13, bafy.*: its link is not to"):
        by_offset(MemoryReadingStore(rows), PLACE, 13)
    with pytest.raises(BrokenChainError, match="'p-2' version 4, offset 11: it is person 'p-3' version 4"):
        history(MemoryReadingStore(rows), PLACE, b"p-2", 1, None, descending=False, limit=None)


def test_where_no_event_counts_there_is_none(rows):
    assert by_offset(MemoryReadingStore(rows), PLACE, 500) is None
    del rows[offset_key(7)]
    assert by_offset(MemoryReadingStore(rows), PLACE, 7) is None


@pytest.mark.parametrize("descending", [False, True])
def test_a_page_ends_behind_many_events_that_are_not_wanted_and_the_next_one_goes_on_there(
    rows, monkeypatch, descending
):
    """Goes red when a rare event is looked for until its partition is missing, at the same place for ever."""
    monkeypatch.setattr(finding, "LOOKED_AT", 20)
    store = Counting(rows)
    for actor in ("nobody", None):
        wanted = EventFilter(types=("PersonRenamed",), actor=actor)
        start, pages, found = None, 0, []
        while True:
            store.asked.clear()
            some = find(store, PLACE, wanted, start=start, descending=descending, limit=30)
            found += [event.offset for event in some.events]
            assert sum(store.asked) <= 3 * (20 + 2 * AT_ONCE)
            start, pages = some.next_offset, pages + 1
            if some.is_end:
                break
        offsets = [*range(len(IDS) * EVENTS_EACH)]
        assert found == ([] if actor else offsets[::-1] if descending else offsets)
        assert pages == 6


def test_a_page_ends_behind_large_events_that_are_not_wanted(rows, monkeypatch):
    """Goes red when a page reads gigabytes of events to find one."""
    store = Counting(rows)
    monkeypatch.setattr(finding, "PAGE_BYTES", 5 * len(page(store, limit=1).events[0].block))
    some = find(store, PLACE, EventFilter(types=("PersonRenamed",), actor="nobody"), start=0, descending=False, limit=9)
    assert (some.events, some.is_end) == ([], False)
    assert 5 <= some.next_offset <= 7


def listed(store, behind=None, limit=100, **wanted):
    decider = REGISTRY["person"]
    kept = KeptSnapshots("person", StateParts(decider), decider.state_version, RecentStates(0))
    filters = {"status": None, "since": None, "until": None} | wanted
    return aggregates(store, States(decider), kept, **filters, behind=behind, limit=limit)


def test_a_list_ends_behind_many_aggregates_that_are_not_wanted_and_the_next_page_goes_on_there(monkeypatch):
    """Goes red when a rare status is looked for until its partition is missing, at the same place for ever."""
    monkeypatch.setattr(listing, "LOOKED_AT", 4)
    store, names = MemoryReadingStore(), [f"p-{number}" for number in range(10)]
    records = [JournalRecord(offset, name.encode(), chain(name, 1)[0].value) for offset, name in enumerate(names)]
    ReadingFold("person", 0, 1, store, [States(REGISTRY["person"])]).apply(records)
    page_of = listed(store, status="merged")
    assert (page_of.aggregates, page_of.is_end, page_of.offset, page_of.until) == ([], False, 10, "p-3")
    assert listed(store, behind="p-3", status="merged").until == "p-7"
    assert listed(store, behind="p-7", status="merged").is_end
    full = listed(store, limit=3)
    assert ([each.aggregate_id for each in full.aggregates], full.is_end, full.until) == (names[:3], False, "p-2")
    all_but_one = listed(store, behind="p-5", limit=4)
    assert ([each.aggregate_id for each in all_but_one.aggregates], all_but_one.is_end) == (names[6:], True)
