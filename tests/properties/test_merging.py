"""Paging over partitions: nothing missed or doubled, whatever arrives, is missing, behind or read anew meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import JournalRecord
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.found import (
    EventFilter,
    EventPage,
    ShardStatus,
)
from annals.agents.reading.gathering.aggregates import AggregatesWanted, read_aggregates
from annals.agents.reading.gathering.cursors import begin, decode, encode
from annals.agents.reading.gathering.events import read_events
from annals.agents.reading.gathering.merging import merge
from annals.agents.reading.keeping.states import States
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.queries.aggregates import aggregates
from annals.agents.reading.queries.events import Place
from annals.agents.reading.queries.find import find
from annals.agents.reading.snapshots.kept import KeptSnapshots
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.workers.stores.reading_memory import MemoryReadingStore
from gathered import event

KINDS = {"organization": 1, "person": 3}
KEYS = [(kind, partition) for kind, count in KINDS.items() for partition in range(count)]
WANTED = EventFilter(types=("PersonRenamed",))


@dataclass
class Replica:
    """A partition as one worker reads it: it may be behind the journal, or not answer.

    end: of the journal when the store was opened.
    """

    kind: str
    partition: int
    is_missing: bool = False
    most: int = 1_000  # events in a page, however many are asked for
    end: int = 0

    def __post_init__(self) -> None:
        self.begin(0)

    def begin(self, end: int) -> None:
        """Read the journal from its beginning."""
        self.store, self.end = MemoryReadingStore(), end
        self.fold = ReadingFold(self.kind, 0, 1, self.store, [States(REGISTRY[self.kind])])

    @property
    def is_read(self) -> bool:
        return self.fold.position.offset >= self.end

    def status(self) -> ShardStatus:
        offset = self.fold.position.offset
        end, is_read = max(offset, self.end), self.is_read
        return ShardStatus(self.kind, self.partition, "reading", "", offset, end, reached=is_read, lag_s=0.0, stale={})

    async def until_offset(self, offset: int, deadline: float) -> bool:
        return self.fold.position.offset >= offset

    async def find(self, wanted: EventFilter, *, start: int | None, descending: bool, limit: int) -> EventPage:
        if self.is_missing:
            raise NotReadyError("away")
        limit = min(self.most, limit)
        place = Place(self.kind, self.partition)
        return find(self.store, place, wanted, start=start, descending=descending, limit=limit)

    async def aggregates(self, *, after: str | None, limit: int, **wanted: Any) -> Any:
        if self.is_missing:
            raise NotReadyError("away")
        states = States(REGISTRY[self.kind])
        kept = KeptSnapshots(self.kind, states.parts, states.version, RecentStates(0))
        return aggregates(self.store, states, kept, **wanted, behind=after, limit=limit)


def record(key: tuple[str, int], number: int, second: int, *, wanted: bool = True) -> JournalRecord:
    type_ = "PersonRenamed" if wanted else "PersonMoved"
    made = event(key[0], f"{key[1]}-{number}", None, second, type_=type_)
    return JournalRecord(number, made.key, made.value)


ARRIVAL = st.tuples(st.sampled_from(KEYS), st.integers(0, 9), st.booleans())
STEP = st.fixed_dictionaries(
    {
        "arrivals": st.lists(ARRIVAL, max_size=8),
        "missing": st.sets(st.sampled_from(KEYS), max_size=2),
        "behind": st.sets(st.sampled_from(KEYS), max_size=2),
        "anew": st.sets(st.sampled_from(KEYS), max_size=2),
        "read": st.integers(0, 3),
        "limit": st.integers(1, 5),
        "most": st.integers(1, 5),
        "worker": st.integers(0, 1),
    }
)
LAST = {
    "arrivals": [], "missing": set(), "behind": set(), "anew": set(), "read": 0, "limit": 3, "most": 5, "worker": 0,
}  # fmt: skip


class Story:
    """Two workers that read the same journals, each as far as it has come, and one reader of both."""

    def __init__(self) -> None:
        self.journals: dict[tuple[str, int], list[JournalRecord]] = {key: [] for key in KEYS}
        self.workers = [{key: Replica(*key) for key in KEYS} for _ in range(2)]
        self.wanted: dict[tuple[str, int], list[int]] = {key: [] for key in KEYS}

    def arrive(self, step: dict[str, Any]) -> list[Replica]:
        for key, second, wanted in step["arrivals"]:
            number = len(self.journals[key])
            self.journals[key].append(record(key, number, second, wanted=wanted))
            if wanted:
                self.wanted[key].append(number)
        worker = self.workers[step["worker"]]
        for key, replica in worker.items():
            if key in step["anew"]:
                replica.begin(len(self.journals[key]))
            left = self.journals[key][replica.fold.position.offset :]
            replica.fold.apply(left[: step["read"]] if key in step["behind"] | step["anew"] else left)
            replica.fold.catch_up()
            replica.is_missing, replica.most = key in step["missing"], step["most"]
        return list(worker.values())


@settings(max_examples=100)
@given(st.lists(STEP, max_size=8))
def test_going_up_every_event_comes_once_and_in_the_order_of_its_partition(steps: list[dict[str, Any]]) -> None:
    asyncio.run(_up(steps))


async def _up(steps: list[dict[str, Any]]) -> None:
    story, seen = Story(), {key: [] for key in KEYS}
    text = encode(begin(KINDS, descending=False))
    is_end, step = False, {}
    left = list(steps)
    while left or step is not LAST or not is_end:
        step = left.pop(0) if left else LAST
        shards = story.arrive(step)
        cursor = decode(text, KINDS, descending=False)
        page = await read_events(shards, WANTED, cursor, step["limit"], 0.0, asyncio.get_running_loop().time() + 5)
        text, is_end = encode(page.cursor), page.is_end
        assert len(page.events) <= step["limit"]
        missing = {(each.kind, each.partition) for each in page.missing}
        assert missing >= step["missing"]
        assert not (missing and is_end)
        assert not is_end or all(shard.is_read for shard in shards)
        for found in page.events:
            key = found.event["kind"], found.partition
            assert key not in missing
            seen[key].append(found.offset)
        for key in missing:
            assert page.cursor.places[key] == cursor.places[key]
            assert page.positions[key[0]][key[1]] is None
        for key in set(KEYS) - missing:  # nothing is passed over, whatever arrived on the other worker
            assert seen[key] == story.wanted[key][: len(seen[key])]
    assert seen == story.wanted


@settings(max_examples=100)
@given(st.lists(STEP, min_size=1, max_size=8))
def test_going_down_every_event_that_was_there_comes_once(steps: list[dict[str, Any]]) -> None:
    asyncio.run(_down(steps))


async def _down(steps: list[dict[str, Any]]) -> None:
    story, seen, begun = Story(), {key: [] for key in KEYS}, {}
    text = encode(begin(KINDS, descending=True))
    is_end = False
    left = list(steps)
    while left or not is_end:
        step = left.pop(0) if left else LAST
        shards = story.arrive(step)
        cursor = decode(text, KINDS, descending=True)
        page = await read_events(shards, WANTED, cursor, step["limit"], 0.0, asyncio.get_running_loop().time() + 5)
        text, is_end = encode(page.cursor), page.is_end
        missing = {(each.kind, each.partition) for each in page.missing}
        for shard in shards:
            key = shard.kind, shard.partition
            if key not in missing and key not in begun:
                assert shard.is_read  # or what it has not read would be on no page
                end = shard.fold.position.offset
                begun[key] = [offset for offset in story.wanted[key] if offset < end]
        for found in page.events:
            seen[found.event["kind"], found.partition].append(found.offset)
    assert {key: offsets[::-1] for key, offsets in seen.items()} == begun


@given(arrivals=st.lists(ARRIVAL, max_size=30), descending=st.booleans(), limit=st.integers(1, 40))
def test_the_next_event_is_that_of_the_partition_whose_next_is_the_earliest(
    *, arrivals: list[Any], descending: bool, limit: int
) -> None:
    story = Story()
    shards = story.arrive({**LAST, "arrivals": arrivals, "most": 1_000})

    async def pages() -> dict[tuple[str, int], EventPage]:
        how: dict[str, Any] = {"start": None, "descending": descending, "limit": limit}
        return {(shard.kind, shard.partition): await shard.find(EventFilter(), **how) for shard in shards}

    found = asyncio.run(pages())
    merged = merge(found, limit, descending=descending)
    rest = {key: list(page.events) for key, page in found.items()}
    for given_event in merged.events:
        heads = [(own[0].event["recorded_at"], *key) for key, own in rest.items() if own]
        _, kind, partition = max(heads) if descending else min(heads)
        assert given_event is rest[kind, partition].pop(0)
    assert len(merged.events) == min(limit, len(arrivals))
    assert merged.is_end == (limit >= len(arrivals))


@settings(max_examples=100)
@given(st.lists(STEP, max_size=8))
def test_every_aggregate_is_listed_once(steps: list[dict[str, Any]]) -> None:
    asyncio.run(
        _listed(
            [{**step, "arrivals": [(("person", key[1]), *rest) for key, *rest in step["arrivals"]]} for step in steps]
        )
    )


async def _listed(steps: list[dict[str, Any]]) -> None:
    story, seen = Story(), []
    everything = [each for step in steps for each in step["arrivals"]]
    people: list[str | None] = [None] * KINDS["person"]
    story.arrive({**LAST, "arrivals": everything})
    is_end = False
    left = [{**step, "arrivals": [], "behind": set(), "anew": set()} for step in steps]
    while left or not is_end:
        step = left.pop(0) if left else LAST
        shards = [shard for shard in story.arrive(step) if shard.kind == "person"]
        deadline = asyncio.get_running_loop().time() + 5
        page = await read_aggregates(shards, AggregatesWanted(), people, step["limit"], deadline)
        people, is_end = page.places, page.is_end
        ids = [each.aggregate_id for each in page.aggregates]
        assert ids == sorted(ids)
        seen += ids
    assert sorted(seen) == sorted(
        f"{key[1]}-{number}" for key in KEYS if key[0] == "person" for number in range(len(story.journals[key]))
    )
