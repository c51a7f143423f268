"""Whoever has a journal partition is asked for the partitions of a stream that are folded beside it."""

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.found import RowPage, ShardPosition, ShardStatus
from annals.agents.reading.gathering.all_shards import AllShards
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.ports import Member, NotReadyError
from rekeyed_rows import GATHERED, PLACE

COUNTS = {"person": 2, PLACE: 5}
STREAMS = {PLACE: "person"}


class Here:
    """A process that has no shard (the `Reading` port)."""

    def __init__(self, counts):
        self.counts = counts

    def shard(self, kind, partition):
        return None

    def standby(self, kind, partition):
        return None

    def partitions(self, kind):
        if kind not in self.counts:
            raise NotReadyError(f"the topic {kind} was not found")
        return self.counts[kind]


class Everybody:
    """Two members, one for each journal partition (the `Members` port); a stream has no owner of its own."""

    me = None

    def __init__(self):
        self.members = [Member(name, None, {"person": [at]}, {}) for at, name in enumerate(("zero", "one"))]

    def owner(self, kind, partition):
        return next((each for each in self.members if partition in each.partitions.get(kind, ())), None)

    def standbys(self, kind, partition):
        return []


class Peers:
    """Answers for all others, and notes who was asked for what."""

    def __init__(self):
        self.asked = []

    async def ask(self, member, kind, partition, question, deadline, *, standby=False):
        self.asked.append((member.id, kind, partition))
        status = ShardStatus(kind, partition, "reading", "", 1, 1, reached=True, lag_s=0.0, stale={})
        return status, RowPage([], is_end=True, position=ShardPosition(kind, partition, 1))


async def test_the_owner_of_partition_p_of_n_has_each_nth_partition_of_the_stream():
    peers = Peers()
    shards = AllShards(Here(COUNTS), Everybody(), peers, REGISTRY, STREAMS)
    page = await LocalRows(shards).rows(GATHERED, 1, {}, None, 10)
    assert sorted(peers.asked, key=lambda each: each[2]) == [
        ("zero", PLACE, 0),
        ("one", PLACE, 1),
        ("zero", PLACE, 2),
        ("one", PLACE, 3),
        ("zero", PLACE, 4),
    ]
    assert (page.positions, page.missing) == ({PLACE: [1] * 5}, [])


async def test_a_stream_that_was_not_found_yet_is_missing_and_breaks_no_answer():
    page = await LocalRows(AllShards(Here({"person": 2}), Everybody(), Peers(), REGISTRY, STREAMS)).rows(
        GATHERED, 1, {}, None, 10
    )
    assert page.positions == {PLACE: [None]}
    assert [(each.kind, each.partition, each.reason) for each in page.missing] == [
        (PLACE, 0, f"the topic {PLACE} was not found")
    ]


@pytest.mark.parametrize("kind", ["person", PLACE])
def test_a_journal_partition_is_its_own_and_a_stream_none_of_the_lists(kind):
    shards = AllShards(Here(COUNTS), Everybody(), Peers(), REGISTRY, STREAMS)
    assert shards.journal_of(kind, 1) == ("person", 1)
    assert PLACE not in shards.kinds
