"""Rebuilds beside rows that answer: whatever happens between two writes, what answers is a fold up to its position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.ports import StoreUnavailableError
from annals.agents.projections import REGISTRY
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.keeping.layout import after
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.projecting.builds import SETS, Builds, answering, read_answering
from annals.agents.reading.projecting.rows import LISTED, ProjectionFollower, texts_of
from annals.agents.reading.projecting.versions import followed
from annals.agents.reading.read_models.global_fold import GlobalFold, PartView, prefix_of
from annals.schemas.journal_reader import Counted, RememberingReader
from annals.schemas.kinds import location
from annals.schemas.projection_record import ProjectionRecord
from annals.topics.keys import keys_of, partition_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from projecting import PARTITIONS, Journals
from reading_stores import Killed

KIND = "location"
NAME = "locations"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, PARTITIONS - 1), st.integers(1, 4)),
        st.tuples(st.just("work"), st.integers(1, 6)),
        st.tuples(st.just("rebuild")),
        st.tuples(st.just("forget")),  # another process, which has not read the topic yet
        st.tuples(st.just("kill"), st.integers(0, 6)),
        st.tuples(st.just("fail")),
        st.tuples(st.just("mend")),
        st.tuples(st.just("one"), st.integers(0, 11)),
    ),
    max_size=40,
)


class Mortal(Killed, MemoryReadingStore):
    """A store that dies when a test says so."""


def story() -> Journals:
    journals = Journals()
    for number in range(12):
        parent = {} if number < 3 else {"parent_id": f"l-{number - 3}"}
        journals.append(
            KIND, f"l-{number}", location.LocationDefined(name=f"l{number}", location_type="logical", **parent)
        )
        if number % 2:
            journals.append(KIND, f"l-{number}", location.ParentSet(parent_id="l-0"))
    return journals


class World:
    """A store, and the processes that fold into it one after another. scope: of one partition, or of all."""

    def __init__(self, scope: str) -> None:
        self.journals, self.scope = story(), scope
        self.store = Mortal()
        self.rebuilds: int | None = 0
        self.asked = self.refolds = 0
        self.fails = False
        self.least: dict[Any, int] = {}
        projection = replace(REGISTRY[NAME], scope=scope, fold=self.fold)
        self.versions: Any = {NAME: (projection,)}
        self.wheres = [(KIND, at) for at in range(PARTITIONS if scope == "global" else 1)]
        self.start()

    def fold(self, event: Any, rows: Any) -> None:
        if self.fails and event.aggregate_id == "l-7":
            raise ZeroDivisionError
        REGISTRY[NAME].fold(event, rows)

    def records(self) -> dict[str, ProjectionRecord] | None:
        if self.rebuilds is None:
            return None
        version = self.versions[NAME][0].version
        return {NAME: ProjectionRecord(name=NAME, version=version, switched_ms=0, rebuilds=self.rebuilds)}

    def start(self) -> None:
        rows = RowMemory(self.store)
        if self.scope == "global":
            self.whole = GlobalFold(rows, self.versions, {KIND: PARTITIONS}, DECIDERS, self.records(), 0)
            self.folds: dict[Any, ReadingFold] = self.whole.folds
            self.catch_up = self.whole.catch_up
        else:
            one = ReadingFold(KIND, 0, PARTITIONS, rows, self.plan())
            self.folds = {(KIND, 0): one}
            self.catch_up = one.catch_up

    def plan(self) -> Any:
        return followed(KIND, self.versions, self.records(), DECIDERS, (), 0, self.scope).followers

    def follow(self) -> None:
        if self.scope == "global":
            self.whole.follow(self.records(), 0)
        else:
            self.folds[KIND, 0].follow(self.plan())

    def do(self, step: Any) -> None:
        match step:
            case ("read", at, count):
                where = (KIND, at % len(self.wheres))
                start = self.folds[where].position.offset
                self.folds[where].apply(self.journals.records_of[where][start : start + count])
            case ("work", count):
                for _ in range(count):
                    self.catch_up()
            case ("rebuild",):
                self.asked += 1
                self.rebuilds = self.asked
                self.follow()
            case ("forget",):
                self.rebuilds = None
                self.start()
            case ("kill", count):
                self.store.left = count
            case ("fail",):
                self.fails = True
            case ("mend",):
                self.fails = False
                for fold in self.folds.values():
                    fold.resume(f"{NAME}/{self.versions[NAME][0].version}")
            case ("one", number):
                fold = self.folds.get((KIND, partition_of(f"l-{number}".encode(), PARTITIONS)))
                self.refolds += 1
                if fold is not None:
                    fold.refold(f"{NAME}/{self.versions[NAME][0].version}", f"l-{number}", self.refolds)

    def view(self, where: Any) -> Any:
        return PartView(self.store, prefix_of(*where)) if self.scope == "global" else self.store

    def check(self) -> None:
        """See that the rows that answer are those of a fold of the journals up to their positions, which never fall."""
        positions = {}
        for where in self.wheres:
            known = read_answering(self.view(where), NAME, self.versions[NAME][0].version)
            assert known is not None
            positions[where] = known[1].offset
            assert known[1].offset >= self.least.get(where, 0)
        self.least = positions
        rows = answering(self.store, NAME, self.versions[NAME][0].version)
        found = {key[len(rows.rows) :]: value for key, value in self.store.range(rows.rows, after(rows.rows))}
        assert found == self.expected(positions)

    def expected(self, positions: Any) -> dict[bytes, bytes]:
        store = MemoryReadingStore()
        follower = ProjectionFollower(REGISTRY[NAME], DECIDERS)
        for where, end in positions.items():
            reader = RememberingReader(KIND, keys_of(where[1], PARTITIONS))
            read = [reader.read(*each) for each in self.journals.records_of[where][:end]]
            rows = Overlay(store)
            follower.fold([each for each in read if isinstance(each, Counted)], where[1], rows)
            store.apply(rows.changes)
        space = follower.set.rows
        return {key[len(space) :]: value for key, value in store.range(space, after(space))}


@given(st.sampled_from(["local", "global"]), STEPS)
@settings(max_examples=200, deadline=None)
def test_what_answers_is_always_a_whole_fold_and_a_rebuild_comes_to_its_end(scope: str, steps: Any) -> None:
    world = World(scope)
    for step in steps:
        try:
            world.do(step)
        except StoreUnavailableError:
            world.store.left = 1_000_000
            world.check()  # before anybody goes on
            world.start()
        world.check()
    come_to_the_end(world)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_killed_at_whatever_write_of_a_rebuild_what_answers_is_whole(scope: str, monkeypatch: Any) -> None:
    """All writes in turn, those of the sweep among them: the steps above meet the one that turns too seldom."""
    monkeypatch.setattr(Builds._rows_from, "__defaults__", (1,))
    writes, was_killed = 0, True
    while was_killed:
        world = World(scope)
        for _, at in world.wheres:
            world.do(("read", at, 1_000))
        world.do(("work", 100))
        world.store.left = writes
        try:
            world.do(("rebuild",))
            while world.catch_up():
                pass
        except StoreUnavailableError:
            world.store.left = 1_000_000
            world.check()
            world.start()
            world.check()
        else:
            was_killed = False
        come_to_the_end(world)
        writes += 1
    assert writes > 5


def come_to_the_end(world: World) -> None:
    """Begin once more, do all that is left to do, and see that it is the last rebuild, and nothing else."""
    world.fails, world.store.left, world.rebuilds = False, 1_000_000, world.asked
    world.start()
    for where in world.wheres:
        world.folds[where].apply(world.journals.records_of[where])
    while world.catch_up():
        pass
    world.check()
    for where in world.wheres:
        rows, position = read_answering(world.view(where), NAME, world.versions[NAME][0].version) or (None, None)
        assert position is not None
        assert (position.version, position.offset) == (world.asked, len(world.journals.records_of[where]))
    rest = [key for key, _ in world.store.range(b"P", b"Q") if not key.startswith(rows.rows)]
    assert rest == []
    assert all(len(texts_of(key[len(SETS) :])) == 2 for key, _ in world.store.range(SETS, after(SETS)))
    assert all(value[:1] == LISTED for _, value in world.store.range(rows.rows, after(rows.rows)))
