"""The reading fold against a plain one: the same rows, byte for byte, in any cut of batches, killed between any two."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import JournalRecord, StoreUnavailableError
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.found import EventFilter
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.keeping.states import States
from annals.agents.reading.queries import events as queries
from annals.agents.reading.queries.aggregates import state
from annals.agents.reading.queries.find import find
from annals.agents.reading.snapshots.kept import KeptSnapshots
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.schemas.chain import seal
from annals.schemas.cid import cid_of
from annals.schemas.journal_reader import Counted, Gap, GapError, RememberingReader, Void
from annals.schemas.values.moments import recorded_at
from annals.topics.keys import keys_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import Sealed, chain, sealed
from reading_stores import Killed, remembering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PERSON = REGISTRY["person"]
PARTITIONS = 2
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAMES = ("p-1", "p-2", "p-3", "\u00c4", "A\u0308", "", "p-1\x00")
PLACE = queries.Place("person", 0)
REMEMBERED = (0, 2_000, 1 << 20)


def forked(name: str) -> list[Sealed]:
    """A chain, and another writer's that leaves it after its first event and goes on."""
    own = chain(name, 4)
    others = chain(name, 3, after=own[0], command_id="zombie", causation_id="command-1", correlation_id="command-2")
    unsigned = chain(name, 2, after=others[-1], command_id="zombie", causation_id="command-1", actor=None)
    return [*own, *others, *unsigned]


EVENTS = [event for name in NAMES for event in forked(name)]
UNREADABLE = chain("p-2", 1, data={"name": 5})
BEHIND = chain("p-2", 2, after=UNREADABLE[0])
STRANGE = [
    EVENTS[0].but(value=b"?"),
    EVENTS[0].but(value=None),
    EVENTS[1].but(key=None),
    EVENTS[1].but(key=b"p-9"),
    sealed("p-1", 0, None),
    sealed("p-2", 1, None, kind="organization"),
]
ORDERED = st.lists(st.sampled_from(range(len(EVENTS))), max_size=40).map(
    lambda numbers: [EVENTS[number] for number in sorted(numbers)]
)
MIXED = st.lists(st.sampled_from(EVENTS + STRANGE) | st.sampled_from(EVENTS[:7]), max_size=40)
JOURNALS = MIXED | ORDERED | st.tuples(st.just(UNREADABLE + BEHIND), ORDERED).map(lambda parts: [*parts[0], *parts[1]])


def journal(events: list[Sealed]) -> list[JournalRecord]:
    """Records with an offset between each two that holds a transaction's marker."""
    return [JournalRecord(2 * number, event.key, event.value) for number, event in enumerate(events)]


def big(number: int) -> bytes:
    return number.to_bytes(8, "big")


def text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return len(encoded).to_bytes(4, "big") + encoded


def plain(records: list[JournalRecord]) -> tuple[dict[bytes, bytes], list[Counted[Any]]]:
    """What the rows must be: one record after the other, with the rule that remembers and a decider."""
    reader = RememberingReader("person", keys_of(0, PARTITIONS))
    rows: dict[bytes, bytes] = {}
    counted: list[Counted[Any]] = []
    states: dict[bytes, Any] = {}
    stopped: set[bytes] = set()
    position: JournalRecord | None = None
    for record in records:
        found = reader.read(*record)
        if isinstance(found, Gap):
            break
        position = record
        if isinstance(found, Void):
            rows[b"v" + found.cid] = b""
        if not isinstance(found, Counted):
            continue
        counted.append(found)
        event, offset = found.event, big(record.offset)
        place = text(found.key) + big(event["version"])
        rows[b"e" + place] = offset + found.cid + (record.value or b"")
        rows[b"o" + offset] = place
        rows[b"c" + text(event["command_id"]) + offset] = rows[b"h" + found.cid[4:12] + offset] = b""
        said = (event["correlation_id"], event["command_id"]), (event["causation_id"], None)
        for space, (named, same) in zip((b"r", b"k"), said, strict=True):
            if named != same:
                rows[space + text(named) + offset] = b""
        for space, named in ((b"t", event["type"]), (b"u", event["actor"])):
            block = space + text(named or "") + big(record.offset // 100)
            if named is not None:
                rows[block] = rows.get(block, b"") + bytes([record.offset % 100])
        at = event["recorded_at"]
        for block in (b"m" + big(record.offset // 10_000), b"i" + big(record.offset // 100)):
            known = rows.get(block, at.encode() * 2).decode()
            rows[block] = (min(known[:27], at) + max(known[27:], at)).encode()
        own = [each for each in counted if each.key == found.key]
        size = sum(len(rows[b"e" + text(each.key) + big(each.event["version"])]) - 44 for each in own)
        sizes = sum(len(value) - 44 for key, value in rows.items() if key[:1] == b"e")
        rows[b"q"] = big(len(counted)) + big(len({each.key for each in counted})) + big(sizes)
        times = own[0].event["recorded_at"] + at
        rows[b"a" + found.key] = big(event["version"]) + offset + big(size) + found.cid + times.encode()
        if event["data"] == {"name": 5}:
            stopped.add(found.key)
        if found.key not in stopped:
            message = PERSON.read_event(event["type"], event["schema_version"], event["data"])
            folded = states[found.key] = PERSON.evolve(states.get(found.key, PERSON.initial), message)
            public = [folded.status, folded.languages, folded.time_zone, folded.merged_into]
            rows[b"s" + found.key] = big(event["version"]) + msgspec.msgpack.encode(public)
            personal = ("name", "preferred_name", "birth_date", "death_date", "emails", "primary_email", "phone")
            rows[b"y" + found.key] = msgspec.msgpack.encode([getattr(folded, name) for name in personal])
    if position is not None:
        cid = b"" if position.value is None else cid_of(position.value)
        rows[b"p"] = big(position.offset + 1) + big(position.offset) + cid
    rows[b"pstates"] = big(PERSON.state_version) + big(position.offset + 1 if position else 0)
    return rows, counted


def fold(store: MemoryReadingStore) -> ReadingFold:
    """A fold as a worker has it."""
    return ReadingFold("person", 0, PARTITIONS, RowMemory(store), [States(PERSON)])


def read(
    store: MemoryReadingStore, records: list[JournalRecord], cuts: list[int], most_bytes: int = 1 << 20
) -> ReadingFold:
    """Fold records. most_bytes: that are remembered of rows and states between two batches."""
    folding = fold(store)
    with remembering(most_bytes), suppress(GapError):
        for start, end in pairwise([0, *sorted(cuts), len(records)]):
            folding.apply(records[start:end])
    return folding


class Mortal(Killed, MemoryReadingStore):
    """A store that dies after some writes."""

    def __init__(self, rows: dict[bytes, bytes], writes: int) -> None:
        super().__init__(rows)
        self.left = writes


@given(JOURNALS, st.lists(st.integers(0, 40), max_size=6), st.sampled_from(REMEMBERED))
def test_rows_are_those_of_a_plain_fold_in_any_cut(events: list[Sealed], cuts: list[int], most_bytes: int) -> None:
    records = journal(events)
    store = MemoryReadingStore()
    read(store, records, cuts, most_bytes)
    assert store.rows == plain(records)[0]


@given(JOURNALS, st.lists(st.integers(0, 40), max_size=6), st.lists(st.integers(0, 4), max_size=4))
def test_killed_between_any_two_writes_the_rows_become_the_same(
    events: list[Sealed], cuts: list[int], kills: list[int]
) -> None:
    records = journal(events)
    rows: dict[bytes, bytes] = {}
    for writes in kills:
        store = Mortal(rows, writes)
        with suppress(StoreUnavailableError):
            read(store, records, cuts)
        rows = store.rows
    last = MemoryReadingStore(rows)
    read(last, records, cuts)  # from the beginning: what was folded is passed over
    assert last.rows == plain(records)[0]


@given(JOURNALS, st.integers(0, 40))
def test_a_follower_that_joins_late_has_the_same_rows(events: list[Sealed], cut: int) -> None:
    records = journal(events)
    store = MemoryReadingStore()
    without = ReadingFold("person", 0, PARTITIONS, store, [])
    with suppress(GapError):
        without.apply(records[:cut])
    folding = fold(store)
    with suppress(GapError):
        folding.apply(records)
    while folding.catch_up():
        pass
    assert folding.stale == {}
    assert store.rows == plain(records)[0]


@given(JOURNALS, st.data())
def test_what_is_found_is_what_a_scan_finds(events: list[Sealed], data: st.DataObject) -> None:
    records = journal(events)
    store = MemoryReadingStore()
    read(store, records, [])
    counted = plain(records)[1]
    wanted = data.draw(
        st.builds(
            EventFilter,
            types=st.sampled_from([(), ("PersonRenamed",), ("PersonRenamed", "None")]),
            command_id=st.sampled_from([None, None, "command-1", "zombie"]),
            causation_id=st.sampled_from([None, None, "command-1", "command-2"]),
            actor=st.sampled_from([None, "hr-service"]),
            correlation_id=st.sampled_from([None, None, "command-1", "command-2", "zombie"]),
        )
    )
    expected = [
        each.offset
        for each in counted
        if (not wanted.types or each.event["type"] in wanted.types)
        and wanted.command_id in (None, each.event["command_id"])
        and wanted.causation_id in (None, each.event["causation_id"])
        and wanted.actor in (None, each.event["actor"])
        and wanted.correlation_id in (None, each.event["correlation_id"])
    ]
    limit, descending = data.draw(st.integers(1, 5)), data.draw(st.booleans())
    start: int | None = None
    pages = []
    while True:
        page = find(store, PLACE, wanted, start=start, descending=descending, limit=limit)
        pages += [found.offset for found in page.events]
        assert len(page.events) <= limit
        start = page.next_offset
        if page.is_end:
            break
        assert page.events
    assert pages == (expected[::-1] if descending else expected)
    again = find(store, PLACE, wanted, start=start, descending=descending, limit=limit)
    assert (again.events, again.next_offset, again.is_end) == ([], start, True)


def recorded(number: int, second: int, apart: int) -> JournalRecord:
    """The first event of an aggregate of its own, recorded at a second, so many offsets from the one before."""
    name, at = f"t-{number}", recorded_at(NOON + timedelta(seconds=second))
    block, _ = seal(
        kind="person",
        aggregate_id=name,
        version=1,
        previous=None,
        type="PersonRenamed",
        schema_version=1,
        recorded_at=at,
        command_id="c",
        correlation_id="c",
        causation_id=None,
        actor=None,
        data={"name": "Ada"},
    )
    return JournalRecord(number * apart, name.encode(), block)


def moment(second: int | None) -> datetime | None:
    return None if second is None else NOON + timedelta(seconds=second)


SECONDS = st.integers(0, 59)


@given(
    seconds=st.lists(SECONDS, max_size=12),
    since=st.none() | SECONDS,
    until=st.none() | SECONDS,
    descending=st.booleans(),
    limit=st.integers(1, 4),
    apart=st.sampled_from([3, 70, 700, 7_000]),
)
def test_times_may_run_back_and_nothing_is_missed(
    *, seconds: list[int], since: int | None, until: int | None, descending: bool, limit: int, apart: int
) -> None:
    store = MemoryReadingStore()
    folding = ReadingFold("person", 0, 1, store, [])
    folding.apply([recorded(number, second, apart) for number, second in enumerate(seconds)])
    wanted = EventFilter(since=moment(since), until=moment(until))
    expected = [
        number * apart
        for number, second in enumerate(seconds)
        if (since is None or second >= since) and (until is None or second < until)
    ]
    found: list[int] = []
    start, is_end = None, False
    while not is_end:
        page = find(store, PLACE, wanted, start=start, descending=descending, limit=limit)
        found += [event.offset for event in page.events]
        start, is_end = page.next_offset, page.is_end
    assert found == (expected[::-1] if descending else expected)


class Looked:
    """A view that counts the rows that it gave."""

    def __init__(self, store: MemoryReadingStore) -> None:
        self._store = store
        self.rows = 0

    def get(self, key: bytes) -> bytes | None:
        self.rows += 1
        return self._store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for row in self._store.range(first, last, reverse=reverse):
            self.rows += 1
            yield row

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        return (key for key, _ in self.range(first, last, reverse=reverse))


@pytest.mark.parametrize("descending", [False, True])
def test_a_page_of_a_time_looks_at_little_more_than_what_it_gives(*, descending: bool) -> None:
    store = MemoryReadingStore()
    events = 3_000  # of 300,000 offsets, each a second later: 30 stretches, 3,000 blocks
    ReadingFold("person", 0, 1, store, []).apply([recorded(number, number, 100) for number in range(events)])
    view = Looked(store)
    wanted = EventFilter(since=moment(2_000), until=moment(2_500))
    page = find(view, PLACE, wanted, start=None, descending=descending, limit=10)
    first = 2_499 if descending else 2_000
    assert [event.offset for event in page.events] == [100 * (first + (-n if descending else n)) for n in range(10)]
    assert view.rows < 30 + 100 + 4 * 12 + 10  # stretches, blocks of one, what is read of each event, the position


@given(JOURNALS)
def test_histories_and_states_are_those_of_a_plain_fold(events: list[Sealed]) -> None:
    records = journal(events)
    store = MemoryReadingStore()
    read(store, records, [])
    states = States(PERSON)
    kept = KeptSnapshots("person", states.parts, states.version, RecentStates(0))
    counted = plain(records)[1]
    for key in {each.key for each in counted}:
        own = [each for each in counted if each.key == key]
        for descending in (False, True):
            found = queries.history(store, PLACE, key, 1, None, descending=descending, limit=None)
            chained = own[::-1] if descending else own
            assert [(each.cid, each.offset, each.event) for each in found] == [
                (each.cid, each.offset, each.event) for each in chained
            ]
        for each in own:
            assert queries.offset_of(store, key, each.event["version"]) == each.offset
            by_cid = queries.by_cid(store, PLACE, each.cid)
            assert by_cid is not None
            assert by_cid.offset == each.offset
        if all(each.event["data"] != {"name": 5} for each in own):
            folded = PERSON.initial
            for each in own:
                message = PERSON.read_event(each.event["type"], each.event["schema_version"], each.event["data"])
                folded = PERSON.evolve(folded, message)
                for version in (each.event["version"], None if each is own[-1] else each.event["version"]):
                    as_it_was = state(store, PLACE, states, kept, key, version, None)
                    assert as_it_was is not None
                    assert (as_it_was.head, as_it_was.state["name"]) == (each.cid, folded.name)
    assert state(store, PLACE, states, kept, b"nobody", None, None) is None


@pytest.mark.parametrize("cut", range(7))
def test_an_older_version_of_a_follower_begins_anew(cut: int) -> None:
    records = journal([event for event in EVENTS if event.key == b"p-2"])
    store = MemoryReadingStore()
    read(store, records[:cut], [])
    store.apply({b"pstates": big(0) + big(99), b"sold": b"?", b"yold": b"?"})
    folding = fold(store)
    while folding.catch_up():
        pass
    folding.apply(records)
    assert store.rows == plain(records)[0]
