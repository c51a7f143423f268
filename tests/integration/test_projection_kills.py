"""Rows of projections on RocksDB, killed between any two writes: byte for byte those of an undisturbed fold."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.ports import StoreUnavailableError
from annals.agents.projections import REGISTRY
from annals.agents.reading.fold import ReadingFold
from annals.agents.reading.global_fold import GlobalFold
from annals.agents.reading.versions import followed
from annals.schemas.kinds import location, policy
from annals.schemas.projection_record import ProjectionRecord
from annals.schemas.values.refs import OwnerRef
from annals.workers.stores.reading import RocksReadingStore
from annals.workers.stores.reading_memory import MemoryReadingStore
from annals.workers.stores.rocks import StoreBudget
from projecting import PARTITIONS, VERSIONS, Journals

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 3
REBUILT = {name: ProjectionRecord(name=name, version=1, switched_ms=0, rebuilds=1) for name in REGISTRY}


class Mortal(RocksReadingStore):
    """A store whose process is killed at one of its writes, which never happens."""

    left = 1_000_000

    def apply(self, changes: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailableError("killed")
        super().apply(changes)


def story() -> Journals:
    journals = Journals()
    target = policy.PolicyTarget(scope="person", id="p")
    for number in range(6):
        drafted = policy.PolicyDrafted(
            name="P",
            description="d",
            owner=OwnerRef(kind="person", id="p"),
            enforcement="hard",
            targets=[target, policy.PolicyTarget(scope="all")],
        )
        activated = policy.PolicyActivated(effective_from="2026-01-01T00:00:00Z")
        journals.append("policy", f"x-{number}", drafted, activated, policy.PolicySuspended(reason="r"))
        journals.append("location", f"l-{number}", location.LocationDefined(name="L", location_type="logical"))
        journals.append("location", f"l-{number}", location.ParentSet(parent_id=f"l-{number + 1}"))
    return journals


def local(store: Any, journals: Journals, records: Any) -> None:
    """Everything that a shard of policies does from its opening on."""
    followers = followed("policy", VERSIONS, records, DECIDERS, (), 0).followers
    fold = ReadingFold("policy", 0, 1, store, followers)
    every = [each for partition in range(PARTITIONS) for each in journals.records_of["policy", partition]]
    every = [each._replace(offset=offset) for offset, each in enumerate(every)]
    for first in range(0, len(every), BATCH):
        fold.apply(every[first : first + BATCH])
    while fold.catch_up():
        pass


def everywhere(store: Any, journals: Journals, records: Any) -> None:
    """Everything that the fold of global projections does from its opening on."""
    fold = GlobalFold(store, VERSIONS, {"location": PARTITIONS}, DECIDERS, records, 0)
    for partition in range(PARTITIONS):
        where = ("location", partition)
        for first in range(0, len(journals.records_of[where]), BATCH):
            fold.apply(where, journals.records_of[where][first : first + BATCH])
    while fold.catch_up():
        pass


@pytest.mark.parametrize("work", [local, everywhere])
def test_killed_between_any_two_writes_rows_are_those_of_an_undisturbed_fold(work: Any, tmp_path: Path) -> None:
    journals, budget = story(), StoreBudget(8 << 20, 8 << 20)
    expected = MemoryReadingStore()
    work(expected, journals, REBUILT)
    writes = 0
    while True:
        folder = tmp_path / str(writes)
        store = Mortal(folder, budget.options("lz4"))
        work(store, journals, {})  # then a rebuild is asked for, and it is killed in the midst
        store.left = writes
        try:
            work(store, journals, REBUILT)
            is_whole = True
        except StoreUnavailableError:
            is_whole = False
        store.close()
        store = Mortal(folder, budget.options("lz4"))
        work(store, journals, REBUILT)
        assert dict(store.range(b"\x02", b"\xff")) == expected.rows
        store.close()
        shutil.rmtree(folder)
        if is_whole:
            assert writes > 2
            return
        writes += 1
