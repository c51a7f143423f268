"""Members of the reading group that tell strange things break nothing, and what is told on of them is bounded."""

import json
from typing import Any

import pytest
from test_reading_members import TOPICS, Cluster, Subscribed

from annals.workers.kafka.group.assignor import Owned
from annals.workers.reading.members import GroupMembers, ReadingAssignor, Told

OURS = Told(url="http://a:1", projections={"people": 1}, standby_replicas=1)
HUGE = 10**30


def roll_with(strangers: dict[str, Subscribed]) -> tuple[GroupMembers, dict[str, Owned]]:
    """What a member of ours knows after it led an assignment with strangers, and who got what."""
    known = GroupMembers()
    leader = ReadingAssignor.of_one_reader(OURS, known)
    own = Subscribed(TOPICS, leader.metadata(TOPICS).user_data)
    assigned = leader.assign(Cluster(), {"a": own, **strangers})
    leader.on_assignment(assigned["a"])
    assert all(len(each.user_data) < 100_000 for each in assigned.values())
    return known, {name: dict(each.assignment) for name, each in assigned.items()}


def told(**more: Any) -> bytes:
    return json.dumps({"version": 1, "owned": {}, "url": "http://evil:1", **more}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 1_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        json.dumps([1] * 500_000).encode(),
        told(version=HUGE),
        told(version="1"),
        told(owned={TOPICS[0]: [0, 1, 2, -1, HUGE, 0, 0]}),
        told(owned={"x" * 100_000: list(range(100_000))}),
        told(owned={TOPICS[0]: list(range(500_000))}),
        told(standby={TOPICS[0]: [HUGE, -7]}, standby_replicas=HUGE),
        told(standby_replicas=-HUGE),
        told(standby_replicas=1.5),
        told(projections={"people": -HUGE}),
        told(projections={f"p-{number}": HUGE for number in range(50_000)}),
        told(projections={"p" * 500_000: 1}),
        told(url="http://" + "e" * 500_000),
        told(url="http://[::1"),
        told(url="http://evil:1\r\nx: y"),
    ],
    ids=range(18),
)
def test_whatever_a_stranger_tells_all_partitions_are_shared_and_the_others_are_known(data: bytes) -> None:
    known, assigned = roll_with({"s": Subscribed(TOPICS, data)})
    assert sorted(assigned["a"][TOPICS[0]] + assigned["s"].get(TOPICS[0], [])) == [0, 1, 2]
    assert known.me is not None
    assert (known.me.url, known.me.projections) == ("http://a:1", {"people": 1})
    assert [member.id for member in known.all()] == ["a", "s"]
    stranger = known.all()[1]
    assert stranger.url is None or stranger.url == "http://evil:1"


def test_partitions_of_topics_of_another_prefix_are_not_taken_for_ours() -> None:
    """Goes red when such a member is asked for what this deployment has."""
    known, assigned = roll_with({"0": Subscribed(["another.events.person"], told())})
    assert assigned["0"] == {"another.events.person": [0, 1, 2]}
    for partition in range(3):
        owner = known.owner("person", partition)
        assert owner is not None
        assert owner.id == "a"


@pytest.mark.parametrize(
    "roll",
    [
        b"[" * 100_000,
        b'{"me": 3}',
        json.dumps({"version": HUGE, "me": "nobody", "members": []}).encode(),
        json.dumps({"me": "a", "members": [{"id": "a"}]}).encode(),
        json.dumps({"me": "a", "members": [{"id": "a", "url": 1, "partitions": {}, "projections": {}}]}).encode(),
    ],
    ids=range(5),
)
def test_a_roll_by_a_strange_leader_names_nobody(roll: bytes) -> None:
    known = GroupMembers()
    known.assigned(roll)
    assert (known.me, known.owner("person", 0), known.differing()) == (None, None, [])
