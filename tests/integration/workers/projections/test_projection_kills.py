"""Rows of projections on RocksDB, killed between any two writes of a rebuild: the old ones or the new ones, whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.ports import StoreUnavailableError
from annals.agents.projections import REGISTRY
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.keeping.layout import after
from annals.agents.reading.projecting.builds import SETS, answering
from annals.agents.reading.projecting.rows import texts_of
from annals.agents.reading.projecting.versions import followed
from annals.agents.reading.read_models.global_fold import GlobalFold
from annals.schemas.kinds import location, policy
from annals.schemas.projection_record import ProjectionRecord
from annals.schemas.values.refs import OwnerRef
from annals.workers.stores.reading import RocksReadingStore
from annals.workers.stores.reading_memory import MemoryReadingStore
from annals.workers.stores.rocks import StoreBudget
from projecting import PARTITIONS, VERSIONS, Journals
from reading_stores import Killed

if TYPE_CHECKING:
    from pathlib import Path

    from annals.agents.projections.projection import Projection

BATCH = 3
LOCAL, GLOBAL = "policies_in_force", "locations"


def mended(projection: Projection[Any]) -> Projection[Any]:
    """Return a projection as a release has it whose fold makes other rows of the same events, in the same version."""

    def fold(event: Any, rows: Any) -> None:
        projection.fold(event, rows)
        row = rows.get(event.aggregate_id)
        if row is not None and row.name == row.name.lower():
            rows.put(msgspec.structs.replace(row, name=row.name.upper()), event.aggregate_id)

    return replace(projection, fold=fold)


MENDED = {name: tuple(map(mended, versions)) for name, versions in VERSIONS.items() if name in {LOCAL, GLOBAL}}
FORMER = {name: VERSIONS[name] for name in MENDED}
REBUILT = {name: ProjectionRecord(name=name, version=1, switched_ms=0, rebuilds=1) for name in REGISTRY}


class Mortal(Killed, RocksReadingStore):
    """A store that dies when a test says so."""


def story() -> Journals:
    journals = Journals()
    target = policy.PolicyTarget(scope="person", id="p")
    for number in range(6):
        drafted = policy.PolicyDrafted(
            name="p",
            description="d",
            owner=OwnerRef(kind="person", id="p"),
            enforcement="hard",
            targets=[target, policy.PolicyTarget(scope="all")],
        )
        activated = policy.PolicyActivated(effective_from="2026-01-01T00:00:00Z")
        journals.append("policy", f"x-{number}", drafted, activated, policy.PolicySuspended(reason="r"))
        journals.append("location", f"l-{number}", location.LocationDefined(name="l", location_type="logical"))
        journals.append("location", f"l-{number}", location.ParentSet(parent_id=f"l-{number + 1}"))
    return journals


def local(store: Any, journals: Journals, versions: Any, records: Any) -> None:
    """Everything that a shard of policies does from its opening on."""
    followers = followed("policy", versions, records, DECIDERS, (), 0).followers
    fold = ReadingFold("policy", 0, 1, store, followers)
    every = [each for partition in range(PARTITIONS) for each in journals.records_of["policy", partition]]
    every = [each._replace(offset=offset) for offset, each in enumerate(every)]
    for first in range(0, len(every), BATCH):
        fold.apply(every[first : first + BATCH])
    while fold.catch_up():
        pass


def everywhere(store: Any, journals: Journals, versions: Any, records: Any) -> None:
    """Everything that the fold of global projections does from its opening on."""
    fold = GlobalFold(store, versions, {"location": PARTITIONS}, DECIDERS, records, 0)
    for partition in range(PARTITIONS):
        where = ("location", partition)
        for first in range(0, len(journals.records_of[where]), BATCH):
            fold.apply(where, journals.records_of[where][first : first + BATCH])
    while fold.catch_up():
        pass


def answering_rows(store: Any, name: str) -> dict[bytes, bytes]:
    """Return the rows that answer and their index entries, without what is their set's own in their keys."""
    rows = answering(store, name, VERSIONS[name][-1].version)
    return {
        space[:1] + key[len(space) :]: value for space in rows.spaces for key, value in store.range(space, after(space))
    }


@pytest.mark.parametrize(("work", "name"), [(local, LOCAL), (everywhere, GLOBAL)])
def test_killed_between_any_two_writes_of_a_rebuild_all_rows_are_the_old_ones_or_all_are_the_new_ones(
    work: Any, name: str, tmp_path: Path
) -> None:
    journals, budget = story(), StoreBudget(8 << 20, 8 << 20)
    old, new = MemoryReadingStore(), MemoryReadingStore()
    work(old, journals, FORMER, {})
    work(new, journals, MENDED, {})
    former, anew = answering_rows(old, name), answering_rows(new, name)
    assert former != anew
    writes, seen = 0, []
    while True:
        folder = tmp_path / str(writes)
        store = Mortal(folder, budget.options("lz4"))
        work(store, journals, FORMER, {})  # then a rebuild is asked for, and it is killed in the midst
        store.left = writes
        try:
            work(store, journals, MENDED, REBUILT)
            is_whole = True
        except StoreUnavailableError:
            is_whole = False
        store.close()
        store = Mortal(folder, budget.options("lz4"))
        seen.append(answering_rows(store, name) == anew)
        assert seen[-1] or answering_rows(store, name) == former
        assert seen[-1] >= max(seen)  # what was turned to stays
        work(store, journals, MENDED, REBUILT)
        assert answering_rows(store, name) == anew
        assert len(list(store.range(b"P", b"Q"))) + len(list(store.range(b"I", b"J"))) == len(anew)
        assert [len(texts_of(key[3:])) for key, _ in store.range(SETS, after(SETS))] == [2]  # no mark is left
        store.close()
        shutil.rmtree(folder)
        if is_whole:
            assert len(set(seen)) == 2
            return
        writes += 1
