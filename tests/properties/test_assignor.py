"""The laws of assigning shards: each has one owner, evenly per kind and in all, with few moves."""

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.kafka.group.assignor import BalancedAssignor, Member, balanced

MEMBERS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
TOPICS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 12), min_size=1).map(
    lambda counts: {topic: range(count) for topic, count in counts.items()}
)


SUBSCRIPTIONS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.sets(st.sampled_from(["a", "b", "c", "d", "e"])),
    min_size=1,
    max_size=6,
)


def alike(topics, owned):
    """Members that subscribe to all topics."""
    return {name: Member(set(topics), before) for name, before in owned.items()}


def loads(assigned):
    return [sum(map(len, of.values())) for of in assigned.values()]


@given(TOPICS, MEMBERS)
def test_every_partition_has_one_owner(topics, members):
    assigned = balanced(topics, alike(topics, {member: {} for member in members}))
    owned = sorted((topic, p) for of in assigned.values() for topic, ps in of.items() for p in ps)
    assert owned == sorted((topic, p) for topic, ps in topics.items() for p in ps)


@given(TOPICS, MEMBERS)
def test_no_worker_has_over_one_more_than_another_of_a_kind_or_in_all(topics, members):
    assigned = balanced(topics, alike(topics, {member: {} for member in members}))
    for topic in topics:
        counts = [len(of.get(topic, ())) for of in assigned.values()]
        assert max(counts) - min(counts) <= 1
    assert max(loads(assigned)) - min(loads(assigned)) <= 1


@given(TOPICS, MEMBERS)
def test_the_same_members_keep_what_they_have(topics, members):
    first = balanced(topics, alike(topics, {member: {} for member in members}))
    assert balanced(topics, alike(topics, first)) == first


@given(st.integers(1, 12), st.integers(1, 5))
def test_a_worker_that_joins_takes_no_more_than_its_share(partitions, workers):
    topics = {"a": range(partitions)}
    before = balanced(topics, alike(topics, {f"w{n}": {} for n in range(workers)}))
    after = balanced(topics, alike(topics, {**before, "joins": {}}))
    moved = sum(len(set(before[worker].get("a", ())) - set(after[worker].get("a", ()))) for worker in before)
    assert moved == len(after["joins"].get("a", ()))


@given(TOPICS, MEMBERS)
def test_two_who_claim_the_same_are_parted(topics, members):
    everything = {topic: list(partitions) for topic, partitions in topics.items()}
    assigned = balanced(topics, alike(topics, dict.fromkeys(members, everything)))
    assert sum(loads(assigned)) == sum(map(len, topics.values()))


@given(TOPICS, SUBSCRIPTIONS)
def test_a_topic_is_assigned_among_those_who_subscribe_to_it(topics, subscriptions):
    assigned = balanced(topics, {name: Member(subscribed, {}) for name, subscribed in subscriptions.items()})
    for topic, partitions in topics.items():
        of = {name: assigned[name].get(topic, []) for name in subscriptions}
        subscribers = [name for name, subscribed in subscriptions.items() if topic in subscribed]
        assert all(name in subscribers for name, share in of.items() if share)
        counts = [len(of[name]) for name in subscribers]
        assert sorted(p for share in of.values() for p in share) == (sorted(partitions) if subscribers else [])
        assert not counts or max(counts) - min(counts) <= 1


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


def metadata(user_data):
    return ConsumerProtocolMemberMetadata(0, ["a"], user_data)


def test_what_a_later_release_adds_is_ignored_and_what_an_earlier_one_said_is_understood():
    members = {
        "earlier": metadata(b'{"a":[1,3]}'),
        "later": metadata(b'{"version":9,"url":"http://x","standby":{"a":[1]},"owned":{"a":[0,2]}}'),
    }
    assigned = BalancedAssignor.assign(Cluster(), members)
    assert dict(assigned["earlier"].assignment) == {"a": [1, 3]}
    assert dict(assigned["later"].assignment) == {"a": [0, 2]}


def test_what_members_say_has_a_version():
    said = BalancedAssignor.of_one_consumer().metadata(["a"]).user_data
    assert said == b'{"version":1,"owned":{},"standby":{},"standby_replicas":0}'
