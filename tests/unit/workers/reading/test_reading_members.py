"""What the members of the group that reads tell one another, over releases and from strangers."""

import json
from typing import NamedTuple

import pytest

from annals.agents.reading.ports import Member
from annals.workers.kafka.group.assignor import BalancedAssignor
from annals.workers.reading.members import GroupMembers, ReadingAssignor, Told, lasting_instance
from annals.workers.settings import Settings

TOPICS = ["t.events.person"]


class Cluster:
    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0, 1, 2}


class Subscribed(NamedTuple):
    subscription: list[str]
    user_data: bytes


def subscribed(url: str | None, *, publishes: bool = True, wish: int = 0, **projections: int) -> Subscribed:
    assignor = ReadingAssignor.of_one_reader(
        Told(url=url, publishes=publishes, projections=projections, standby_replicas=wish), GroupMembers()
    )
    return Subscribed(TOPICS, assignor.metadata(TOPICS).user_data)


def roll_of(name: str, members: dict[str, Subscribed]) -> GroupMembers:
    """What a member knows after an assignment by one of them."""
    known = GroupMembers()
    assigned = ReadingAssignor.assign(Cluster(), members)[name]
    ReadingAssignor.of_one_reader(Told(), known).on_assignment(assigned)
    return known


def test_every_member_knows_all_and_who_has_which_partition() -> None:
    members = {"a": subscribed("http://a:1", people=2), "b": subscribed("http://b:2"), "c": subscribed(None)}
    known = roll_of("b", members)
    assert known.me == Member("b", "http://b:2", {"person": [1]}, {})
    assert [(member.id, member.url, member.projections) for member in known.all()] == [
        ("a", "http://a:1", {"people": 2}),
        ("b", "http://b:2", {}),
        ("c", None, {}),
    ]
    owner = known.owner("person", 0)
    assert owner is not None
    assert owner.id == "a"
    assert known.owner("person", 3) is None
    assert known.owner("lamp", 0) is None


def test_every_member_knows_who_stands_by_for_which_partition() -> None:
    members = {"a": subscribed("http://a:1", wish=1), "b": subscribed("http://b:2", wish=1), "c": subscribed(None)}
    known = roll_of("c", members)
    for partition in range(3):
        owner = known.owner("person", partition)
        standing = known.standbys("person", partition)
        assert owner is not None
        assert len(standing) == 1
        assert owner.id != standing[0].id
        assert standing[0].id in "ab"
    assert known.standbys("person", 3) == known.standbys("lamp", 0) == []


def test_a_reader_knows_and_tells_what_it_stands_by_for() -> None:
    members = {"a": subscribed("http://a:1", wish=1), "b": subscribed("http://b:2", wish=1)}
    known = GroupMembers()
    reader = ReadingAssignor.of_one_reader(Told(standby_replicas=1), known)
    reader.on_assignment(ReadingAssignor.assign(Cluster(), members)["a"])
    assert (reader.owned, reader.standby) == ({TOPICS[0]: [0, 1]}, {TOPICS[0]: [2]})
    assert known.me is not None
    assert known.me.standby == {"person": [2]}
    told = json.loads(reader.metadata(TOPICS).user_data)
    assert (told["standby"], told["standby_replicas"]) == ({TOPICS[0]: [2]}, 1)


@pytest.mark.parametrize(
    ("now", "is_outdated"),
    [
        (Told(url="http://a:1", projections={"people": 1}), False),
        (Told(url="http://a:1", projections={"people": 2}), True),
        (Told(url="http://a:2", projections={"people": 1}), True),
        (Told(url="http://a:1", projections={"people": 1}, publishes=False), True),
    ],
)
def test_a_restarted_member_that_is_known_by_what_it_told_before_joins_once_more(
    now: Told, *, is_outdated: bool
) -> None:
    """The brokers answer a static member with the assignment that it had, and ask the others nothing."""
    before = ReadingAssignor.assign(Cluster(), {"a": subscribed("http://a:1", people=1)})["a"]
    reader = ReadingAssignor.of_one_reader(now, GroupMembers())
    assert not reader.is_outdated
    first = reader.metadata(TOPICS).user_data
    reader.on_assignment(before)
    assert reader.is_outdated == is_outdated
    assert reader.metadata(TOPICS).user_data != first, "or the brokers would not ask the others"
    reader.on_assignment(before)
    assert not reader.is_outdated, "a leader that cannot read it is asked once"


def test_a_member_without_partitions_tells_something_else_when_it_joins_once_more() -> None:
    before = ReadingAssignor.assign(Cluster(), {"a": subscribed("http://a:1")})["a"]
    before.assignment.clear()
    reader = ReadingAssignor.of_one_reader(Told(url="http://a:2"), GroupMembers())
    first = reader.metadata(TOPICS).user_data
    reader.on_assignment(before)
    assert reader.is_outdated
    assert reader.metadata(TOPICS).user_data != first


def test_a_roll_of_an_earlier_release_names_no_standbys() -> None:
    assigned = ReadingAssignor.assign(Cluster(), {"a": subscribed("http://a:1")})["a"]
    roll = json.loads(assigned.user_data)
    del roll["standby"]
    for member in roll["members"]:
        del member["standby"]
    assigned.user_data = json.dumps(roll).encode()
    known = GroupMembers()
    reader = ReadingAssignor.of_one_reader(Told(standby_replicas=1), known)
    reader.on_assignment(assigned)
    assert (reader.standby, known.standbys("person", 0)) == ({}, [])


def test_before_an_assignment_nobody_is_known() -> None:
    known = GroupMembers()
    assert (known.me, list(known.all()), known.owner("person", 0), known.differing()) == (None, [], None, [])


def test_a_member_keeps_its_partitions_as_in_the_write_path() -> None:
    told = json.loads(subscribed("http://a:1").user_data)
    kept = Subscribed(TOPICS, json.dumps({**told, "owned": {TOPICS[0]: [2]}}).encode())
    assigned = ReadingAssignor.assign(Cluster(), {"a": subscribed("http://z:1"), "b": kept, "c": subscribed(None)})
    assert assigned["b"].assignment == [(TOPICS[0], [2])]
    assert ReadingAssignor.name != BalancedAssignor.name


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"url": 3}', b'{"url": "file:///etc/passwd"}'])
def test_what_a_stranger_tells_is_no_address(data: bytes) -> None:
    known = roll_of("a", {"a": subscribed("http://a:1"), "b": Subscribed(TOPICS, data)})
    assert [(member.id, member.url) for member in known.all()] == [("a", "http://a:1"), ("b", None)]


def test_what_a_later_release_adds_is_ignored() -> None:
    told = json.loads(subscribed("http://b:2").user_data)
    later = Subscribed(TOPICS, json.dumps({**told, "version": 9, "zone": "eu"}).encode())
    known = GroupMembers()
    assigned = ReadingAssignor.assign(Cluster(), {"a": later})["a"]
    known.assigned(json.dumps({**json.loads(assigned.user_data), "zones": []}).encode())
    assert known.me == Member("a", "http://b:2", {"person": [0, 1, 2]}, {})
    known.assigned(b"no JSON")
    assert known.me is None


def test_who_publishes_otherwise_is_named() -> None:
    members = {"a": subscribed("http://a:1"), "b": subscribed("http://b:2", publishes=False)}
    (here,), (there,) = roll_of("a", members).differing(), roll_of("b", members).differing()
    assert here.startswith("ANNALS_PUBLISH is 1 here and 0 at http://b:2: ")
    assert there.startswith("ANNALS_PUBLISH is 0 here and 1 at http://a:1: ")
    alike = {"a": subscribed("http://a:1"), "b": subscribed("http://b:2")}
    assert roll_of("a", alike).differing() == []


def test_each_assignment_tells_the_members_own_id() -> None:
    joined: list[str] = []
    known = GroupMembers()
    known.on_joined = joined.append
    known.assigned(ReadingAssignor.assign(Cluster(), {"a": subscribed(None)})["a"].user_data)
    assert joined == ["a"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "w-1"),
        ({"api_port": 0}, None),
        ({"api_port": 0, "api_advertised_url": "https://one.example"}, "w-1"),
    ],
)
def test_a_worker_is_a_static_member_only_where_its_address_lasts(changes, expected):
    assert lasting_instance(Settings(instance_id="w-1", **changes)) == expected


def test_a_member_that_has_just_started_gets_what_the_one_before_it_had() -> None:
    stored = ReadingAssignor.of_one_reader(Told(standby={TOPICS[0]: [0]}), GroupMembers())
    back = Subscribed(TOPICS, stored.metadata(TOPICS).user_data)
    members = {"a": subscribed(None), "b": subscribed(None), "c": back}
    assert ReadingAssignor.assign(Cluster(), members)["c"].assignment == [(TOPICS[0], [0])]
