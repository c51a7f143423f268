"""The laws of assigning shards: each has one owner, evenly per kind and in all, with few moves."""

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.kafka.group.assignor import BalancedAssignor, balanced

MEMBERS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
TOPICS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 12), min_size=1).map(
    lambda counts: {topic: range(count) for topic, count in counts.items()}
)


def loads(assigned):
    return [sum(map(len, of.values())) for of in assigned.values()]


@given(TOPICS, MEMBERS)
def test_every_partition_has_one_owner(topics, members):
    assigned = balanced(topics, {member: {} for member in members})
    owned = sorted((topic, p) for of in assigned.values() for topic, ps in of.items() for p in ps)
    assert owned == sorted((topic, p) for topic, ps in topics.items() for p in ps)


@given(TOPICS, MEMBERS)
def test_no_worker_has_over_one_more_than_another_of_a_kind_or_in_all(topics, members):
    assigned = balanced(topics, {member: {} for member in members})
    for topic in topics:
        counts = [len(of.get(topic, ())) for of in assigned.values()]
        assert max(counts) - min(counts) <= 1
    assert max(loads(assigned)) - min(loads(assigned)) <= 1


@given(TOPICS, MEMBERS)
def test_the_same_members_keep_what_they_have(topics, members):
    first = balanced(topics, {member: {} for member in members})
    assert balanced(topics, first) == first


@given(st.integers(1, 12), st.integers(1, 5))
def test_a_worker_that_joins_takes_no_more_than_its_share(partitions, workers):
    before = balanced({"a": range(partitions)}, {f"w{n}": {} for n in range(workers)})
    after = balanced({"a": range(partitions)}, {**before, "joins": {}})
    moved = sum(len(set(before[worker].get("a", ())) - set(after[worker].get("a", ()))) for worker in before)
    assert moved == len(after["joins"].get("a", ()))


@given(TOPICS, MEMBERS)
def test_two_who_claim_the_same_are_parted(topics, members):
    everything = {topic: list(partitions) for topic, partitions in topics.items()}
    assigned = balanced(topics, dict.fromkeys(members, everything))
    assert sum(loads(assigned)) == sum(map(len, topics.values()))


class Cluster:
    def partitions_for_topic(self, topic):
        return {0, 1, 2, 3} if topic == "a" else None


def test_members_tell_the_leader_what_they_have():
    one, two = BalancedAssignor.of_one_consumer(), BalancedAssignor.of_one_consumer()
    assigned = one.assign(Cluster(), {"one": one.metadata(["a"]), "two": two.metadata(["a"])})
    one.on_assignment(assigned["one"])
    two.on_assignment(assigned["two"])
    three = BalancedAssignor.of_one_consumer().metadata(["a", "unknown"])
    again = one.assign(Cluster(), {"one": one.metadata(["a"]), "two": two.metadata(["a"]), "three": three})
    owned = {member: dict(of.assignment).get("a", []) for member, of in assigned.items()}
    now = {member: dict(of.assignment).get("a", []) for member, of in again.items()}
    assert sorted(p for ps in now.values() for p in ps) == [0, 1, 2, 3]
    assert set(now["one"]) <= set(owned["one"])
    assert set(now["two"]) <= set(owned["two"])


def test_what_a_member_cannot_say_clearly_is_as_if_it_had_nothing():
    garbled = ConsumerProtocolMemberMetadata(0, ["a"], b"\xff not json")
    assigned = BalancedAssignor.assign(Cluster(), {"one": garbled})
    assert dict(assigned["one"].assignment) == {"a": [0, 1, 2, 3]}
