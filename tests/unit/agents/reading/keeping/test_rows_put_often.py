"""A row that many events of a batch put is written once, and is what each of them made of it."""

from dataclasses import replace

import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.projections.policies_in_force import POLICIES_IN_FORCE
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.projecting.rows import ProjectionFollower
from annals.schemas.kinds import policy
from annals.topics.keys import partition_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from projecting import PARTITIONS, Journals

TARGETS, SUSPENSIONS = 200, 50


def folded(journals, projection, at_once):
    partition = partition_of(b"pol-1", PARTITIONS)
    store = MemoryReadingStore()
    fold = ReadingFold("policy", partition, PARTITIONS, store, [ProjectionFollower(projection, DECIDERS)])
    records = journals.records_of["policy", partition]
    for at in range(0, len(records), at_once):
        fold.apply(records[at : at + at_once])
    assert not fold.failed
    return {key: value for key, value in store.range(b"", b"\xff") if key.startswith((b"P", b"I"))}


def drafted(count):
    targets = [policy.PolicyTarget(scope="person", id=f"p-{number:03}") for number in range(count)]
    owner = policy.Owner(kind="person", id="p-1")
    return policy.PolicyDrafted(name="N", description="D", owner=owner, enforcement="hard", targets=targets)


@pytest.fixture
def journals():
    all_of_them = Journals(("policy",))
    turns = [policy.PolicySuspended(reason="r"), policy.PolicyResumed()] * SUSPENSIONS
    activated = policy.PolicyActivated(effective_from="2026-01-01T00:00:00Z")
    revised = policy.PolicyRevised(targets=drafted(TARGETS // 2).targets)
    back = policy.PolicyRevised(targets=drafted(TARGETS).targets)
    all_of_them.append("policy", "pol-1", drafted(TARGETS), activated, *turns, revised, back, revised)
    return all_of_them


def test_the_rows_of_a_policys_targets_are_written_once_a_batch(journals):
    """Goes red when each event writes them again: 10 to 20 ms an event, and a turn of 500 held the event loop."""
    written = 0

    def counted(row):
        nonlocal written
        written += 1
        return POLICIES_IN_FORCE.indexes(row)

    folded(journals, replace(POLICIES_IN_FORCE, indexes=counted), 1000)
    assert written < 2 * (TARGETS + 2 * SUSPENSIONS)


def test_however_many_events_come_at_once_the_rows_are_the_same(journals):
    one_by_one = folded(journals, POLICIES_IN_FORCE, 1)
    assert len(one_by_one) > 3 * TARGETS // 2
    assert [folded(journals, POLICIES_IN_FORCE, at_once) for at_once in (2, 7, 1000)] == [one_by_one] * 3
