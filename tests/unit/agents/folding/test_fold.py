"""The fold of a journal: what it makes of events that somebody else wrote."""

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord
from annals.schemas.chain import seal
from annals.workers.stores.memory import MemoryStore

PERSON = REGISTRY["person"]
LATER, EARLIER = "2026-11-21T09:30:00.000000Z", "2026-11-21T08:00:00.000000Z"


def record(version: int, previous: bytes | None, recorded_at: str) -> tuple[JournalRecord, bytes]:
    name = "PersonRegistered" if version == 1 else "PersonRenamed"
    command, data = f"c-{version}", {"name": f"Ada {version}"}
    block, cid = seal(
        kind="person",
        aggregate_id="p-1",
        version=version,
        previous=previous,
        type=name,
        schema_version=1,
        recorded_at=recorded_at,
        command_id=command,
        correlation_id=command,
        causation_id=None,
        actor=None,
        data=data,
    )
    return JournalRecord(version - 1, b"p-1", block), cid


@pytest.mark.parametrize("together", [True, False], ids=["in one step", "in two steps"])
def test_an_aggregates_time_never_goes_back_whatever_an_event_says(together) -> None:
    """Or the next event of ours would be recorded before one that is older."""
    working_set = WorkingSet(PERSON, MemoryStore(), AggregateCache(1 << 20))
    fold = Fold(PERSON, working_set, 0, 1)
    first, cid = record(1, None, LATER)
    second, _ = record(2, cid, EARLIER)
    for step in [[first, second]] if together else [[first], [second]]:
        fold.apply(step)
    assert (working_set.aggregate(b"p-1").version, working_set.aggregate(b"p-1").recorded_at) == (2, LATER)
