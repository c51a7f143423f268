"""An aggregate as it was at a time: how many events are read for it does not grow with those that it has."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.keeping.layout import EVENTS
from annals.agents.reading.snapshots.policy import SnapshotPolicy
from annals.schemas.values.moments import recorded_at
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import sealed
from following import Clock, Damages, Journal, running, soon
from reading_stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGUN = datetime(2026, 11, 21, tzinfo=UTC)
COUNT = 600
EVERY = 100
STEPS = 10  # as often as so many events can be halved, once more


class Counting(MemoryReadingStore):
    """Counts the events that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0

    def get(self, key: bytes) -> bytes | None:
        self.events += key[:1] == EVENTS
        return super().get(key)

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for row in super().range(first, last, reverse=reverse):
            self.events += row[0][:1] == EVENTS
            yield row

    @contextmanager
    def held(self) -> Iterator[Any]:
        yield self

    view = held


def second(version: int) -> datetime:
    """When an event was recorded; two at a time are of one moment."""
    return BEGUN + timedelta(seconds=version // 2)


async def test_a_state_at_a_time_is_found_by_halving_and_folded_from_the_snapshot_before_it() -> None:
    events, last = [], None
    for version in range(1, COUNT + 1):
        last = sealed("p-1", version, last and last.cid, recorded_at=recorded_at(second(version)))
        events.append(last)
    stores = Stores()
    store = stores.store = Counting()
    journal = Journal()
    shard = Shard(
        REGISTRY["person"], 0, 1, stores, journal, journal, Clock(), Damages(), policy=SnapshotPolicy(events=EVERY)
    )
    async with running(shard, journal) as here:
        for version in range(0, COUNT, EVERY):  # in a batch, one snapshot is kept at its end
            journal.append(events[version : version + EVERY])
            assert await here.until_offset(version + EVERY, soon())
        assert await here.state("p-1", at=BEGUN - timedelta(seconds=1)) is None
        for version in (1, 2, 3, 99, 100, 101, 350, 599, 600):
            newest = min(version | 1, COUNT)  # of those of its moment
            store.events = 0
            found = await here.state("p-1", at=second(version))
            assert found is not None
            assert (found.version, found.head) == (newest, events[newest - 1].cid)
            # Each step reads an event and the one before it; the fold, those behind the snapshot.
            assert store.events <= EVERY + 2 * STEPS + 5
            almost = await here.state("p-1", at=second(version) + timedelta(microseconds=999_999))
            assert almost == found


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_an_aggregate_has_one_version_between_two_moments(version: int) -> None:
    events, last = [], None
    for number in (1, 2, 3):
        last = sealed("p-1", number, last and last.cid, recorded_at=recorded_at(BEGUN + timedelta(seconds=number)))
        events.append(last)
    journal = Journal(events)
    shard = Shard(REGISTRY["person"], 0, 1, Stores(), journal, journal, Clock(), Damages())
    async with running(shard, journal) as here:
        assert await here.until_offset(3, soon())
        found = await here.state("p-1", at=BEGUN + timedelta(seconds=version + 0.5))
        assert found is not None
        assert found.version == version
