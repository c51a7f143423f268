"""What is read from a restore point is what is read from the beginning: the same runs, byte for byte, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from annals.agents.folding.restore_points import PartitionId, read_list
from annals.agents.ports import JournalRecord
from annals.agents.reading.ahead.folding import AheadFold
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.queries import events as queries
from annals.agents.reading.queries.run import last_before, placed_from, run_from
from annals.schemas.journal_reader import GapError, RememberingReader, Void
from annals.schemas.restore_point import Head, RestorePointError
from annals.topics.keys import keys_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import Sealed, chain, sealed
from following import Journal
from head_starts import Point

PLACE = PartitionId("person", 0, 2)
NAMES = ("p-1", "p-2", "\u00c4", "p-3")


def forked(name: str) -> list[Sealed]:
    """A chain, and another writer's that leaves it after its first event and goes on."""
    own = chain(name, 6)
    return [*own, *chain(name, 4, after=own[0], command_id="zombie")]


EVENTS = [event for name in NAMES for event in forked(name)]
STRANGE = [
    EVENTS[0].but(value=b"?"),
    EVENTS[1].but(key=b"p-9"),
    EVENTS[1].but(key=None),
    sealed("p-1", 0, None),
    sealed("p-2", 1, None, kind="organization"),
]


@st.composite
def journals(draw: st.DrawFn, *, with_copies: bool = True) -> list[Sealed]:
    """Chains woven into one another, some records twice, strangers between them."""
    left = {name: list(forked(name)[:6]) for name in NAMES}
    zombies = [event for name in NAMES for event in forked(name)[6:]]
    written: list[Sealed] = []
    for _ in range(draw(st.integers(2, 30))):
        what = draw(st.sampled_from(["next", "next", "next", "zombie", "copy", "strange"]))
        if what == "next":
            name = draw(st.sampled_from(NAMES))
            if left[name]:
                written.append(left[name].pop(0))
        elif what == "zombie":
            zombie = draw(st.sampled_from(zombies))
            written += [zombie] if with_copies or zombie not in written else []
        elif what == "copy" and written and with_copies:
            written.append(draw(st.sampled_from(written)))
        elif what == "strange":
            written.append(draw(st.sampled_from(STRANGE)))
    return written


def made(events: list[Sealed]) -> Journal:
    """A journal without gaps."""
    reader = RememberingReader("person", keys_of(0, PLACE.partitions))
    kept = []
    for event in events:
        copy = RememberingReader("person", keys_of(0, PLACE.partitions), reader.ends, reader.voids - {None})
        if not hasattr(copy.read(0, event.key, event.value), "describe"):
            reader.read(0, event.key, event.value)
            kept.append(event)
    return Journal(kept)


def has_copies(journal: Journal, begin: int, position: int) -> bool:
    """Whether an event between two places counts, and is void there or elsewhere, too."""
    reader = RememberingReader("person", keys_of(0, PLACE.partitions))
    read = [(record.offset, reader.read(*record[:3])) for record in journal.records[:position]]
    voids = {found.cid for _, found in read if isinstance(found, Void)}
    there = {found.cid for offset, found in read if offset >= begin and hasattr(found, "cid")}
    counted = {found.cid for _, found in read if hasattr(found, "cid") and not isinstance(found, Void)}
    return bool(voids & there & counted)


@given(journals(), st.data())
async def test_runs_are_the_same_from_wherever_it_begins(events: list[Sealed], data: st.DataObject) -> None:
    journal = made(events)
    records = [JournalRecord(*record[:3]) for record in journal.records]
    assume(records)
    position = data.draw(st.integers(1, len(records)))
    begin = data.draw(st.integers(0, position))
    point = Point(journal.records, position, PLACE.partitions)
    store, whole = MemoryReadingStore(), MemoryReadingStore()
    ReadingFold(*PLACE, whole, ()).apply(records)
    fold = AheadFold(PLACE, store, journal, begin)
    found = await read_list(point, PLACE, None, point.cid or b"", len(records))
    try:
        await fold.open(found, point)
    except RestorePointError:
        assert has_copies(journal, begin, position)
        return
    await fold.read(len(records))
    where = queries.Place("person", 0)
    for offset in range(begin, len(records) + 1):
        assert run_from(store, where, offset, 3, 0) == run_from(whole, where, offset, 3, 0)
        assert placed_from(store, offset, 3) == placed_from(whole, offset, 3)
        assert last_before(store, offset) in {None, last_before(whole, offset)}
    last = last_before(store, len(records))
    assert last == last_before(whole, len(records)) or not placed_from(whole, begin, 1)
    for name in NAMES:
        for version in range(1, 8):
            found_at = queries.offset_of(store, name.encode(), version)
            true = queries.offset_of(whole, name.encode(), version)
            assert found_at == (true if true is None or true >= begin else None)


@given(journals(with_copies=False), st.data())
async def test_ends_that_are_not_those_of_the_journal_are_found_out(events: list[Sealed], data: st.DataObject) -> None:
    """Where all of an aggregate's events are read again, and none twice, no other end passes."""
    journal = made(events)
    assume(len(journal.records) > 1)
    position = len(journal.records)
    assert not has_copies(journal, 0, position)
    reader = RememberingReader("person", keys_of(0, PLACE.partitions))
    for record in journal.records:
        reader.read(*record[:3])
    assume(b"p-1" in reader.ends)
    end = reader.ends[b"p-1"]
    false = data.draw(st.sampled_from([each for each in EVENTS if each.key == b"p-1" and each.cid != end.head]))
    point = Point(journal.records, None)
    point.make(position, PLACE.partitions, p_1=Head(false.version, None, false.cid))
    found = await read_list(point, PLACE, None, point.cid or b"", position)
    fold = AheadFold(PLACE, MemoryReadingStore(), journal, 0)
    with pytest.raises((RestorePointError, GapError)):
        await fold.open(found, point)
