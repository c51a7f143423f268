"""The laws of standbys: never the owner, no more than wished, even, lasting, and enough to take over from any owner."""

import json

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.kafka.group.assignor import BalancedAssignor, Member, balanced, standbys

TOPICS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 12), min_size=1).map(
    lambda counts: {topic: range(count) for topic, count in counts.items()}
)
NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
WISHES = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 5), min_size=1, max_size=6)
SUBSCRIBED = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.tuples(st.sets(st.sampled_from(["a", "b", "c", "d", "e"])), st.integers(0, 3)),
    min_size=1,
    max_size=6,
)
HISTORIES = st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=6)


def places(owned):
    return {(topic, partition) for topic, partitions in owned.items() for partition in partitions}


def assign(topics, wishes, before=None):
    """What members own and stand by for, after an assignment with what they had before it."""
    owned, standby = before or ({}, {})
    members = {
        name: Member(set(topics), owned.get(name, {}), standby.get(name, {}), wish) for name, wish in wishes.items()
    }
    assigned = balanced(topics, members)
    return assigned, standbys(topics, assigned, members)


def without(names, lost):
    return {name: wish for name, wish in names.items() if name != lost}


@given(TOPICS, SUBSCRIBED)
def test_a_standby_subscribes_wishes_and_does_not_own(topics, subscribed):
    members = {name: Member(to, {}, {}, wish) for name, (to, wish) in subscribed.items()}
    assigned = balanced(topics, members)
    standby = standbys(topics, assigned, members)
    assert standby.keys() == members.keys()
    for name, partitions in standby.items():
        assert not places(partitions) & places(assigned[name])
        assert partitions.keys() <= members[name].topics
        assert not partitions or members[name].standby_replicas
    most = max(member.standby_replicas for member in members.values())
    for topic in topics:
        may = [name for name, member in members.items() if topic in member.topics and member.standby_replicas]
        for name, partitions in assigned.items():
            for partition in partitions.get(topic, ()):
                standing = [other for other, of in standby.items() if partition in of.get(topic, ())]
                assert len(standing) == min(most, len(set(may) - {name}))


@given(TOPICS, NAMES)
def test_nobody_wishes_any_and_there_are_none(topics, names):
    _, standby = assign(topics, dict.fromkeys(names, 0))
    assert standby == {name: {} for name in names}


@given(TOPICS, NAMES, st.integers(1, 5))
def test_all_that_a_lost_owner_had_is_taken_by_its_standbys(topics, names, wish):
    wishes = dict.fromkeys(names, wish)
    owned, standby = assign(topics, wishes)
    for lost in names if len(names) > 1 else []:
        now, _ = assign(topics, without(wishes, lost), (owned, standby))
        for name, partitions in now.items():
            taken = places(partitions) - places(owned[name])
            assert taken & places(owned[lost]) <= places(standby[name])


@given(TOPICS, HISTORIES, st.integers(1, 3))
def test_so_it_is_after_any_history_of_members(topics, history, wish):
    before = None
    for present in history:
        wishes = {f"w{number}": wish for number in present}
        before = assign(topics, wishes, before)
    owned, standby = before
    for lost in wishes if len(wishes) > 1 else ():
        now, _ = assign(topics, without(wishes, lost), before)
        for name, partitions in now.items():
            taken = places(partitions) - places(owned[name])
            assert taken & places(owned[lost]) <= places(standby[name])


@given(TOPICS, NAMES, st.integers(1, 5))
def test_the_same_members_stay_what_they_are(topics, names, wish):
    wishes = dict.fromkeys(names, wish)
    first = assign(topics, wishes)
    assert assign(topics, wishes, first) == first


@given(TOPICS, NAMES, st.integers(1, 5))
def test_standbys_are_spread(topics, names, wish):
    """What each takes over from any one owner is even, since `balanced` is; the sum over all owners less so."""
    owned, standby = assign(topics, dict.fromkeys(names, wish))
    share = -(-sum(len(places(of)) for of in owned.values()) * min(wish, len(names) - 1) // len(names))
    assert max(len(places(of)) for of in standby.values()) <= 2 * share + len(names)


@given(TOPICS, NAMES)
def test_with_as_many_wished_as_there_are_others_everybody_has_everything(topics, names):
    owned, standby = assign(topics, dict.fromkeys(names, len(names)))
    for name in names:
        has = places(owned[name]) | places(standby[name])
        assert has == (places(topics) if len(names) > 1 else places(owned[name]))


@given(TOPICS, NAMES, WISHES)
def test_warm_members_change_neither_balance_nor_who_keeps_what(topics, names, claims):
    cold = balanced(topics, {name: Member(set(topics), {}) for name in names})
    everything = {topic: list(partitions) for topic, partitions in topics.items()}
    told = {name: Member(set(topics), cold[name], everything if name in claims else {}, 1) for name in names}
    assert balanced(topics, told) == cold


def test_a_partition_without_owner_goes_to_a_warm_member_that_may_have_one_more():
    topics = {"a": range(4)}
    members = {
        "one": Member({"a"}, {"a": [0]}, {"a": [2]}, 1),
        "two": Member({"a"}, {"a": [1]}, {"a": [3]}, 1),
    }
    assert balanced(topics, members) == {"one": {"a": [0, 2]}, "two": {"a": [1, 3]}}
    members["one"] = members["one"]._replace(standby={"a": [2, 3]})
    assert balanced(topics, members) == {"one": {"a": [0, 2]}, "two": {"a": [1, 3]}}, "the only one warm for it"


def test_who_is_warm_gets_the_one_more():
    members = {name: Member({"a"}, {}, {"a": [0]} if name == "c" else {}, 1) for name in "abc"}
    assert balanced({"a": range(1)}, members)["c"] == {"a": [0]}


def test_who_had_a_partition_is_its_standby_when_a_newcomer_takes_it():
    topics = {"a": range(4)}
    before = assign(topics, {"one": 1, "two": 1})
    owned, standby = assign(topics, {"one": 1, "two": 1, "new": 1}, before)
    (moved,) = owned["new"]["a"]
    (former,) = (name for name in ("one", "two") if moved in before[0][name]["a"])
    assert moved in standby[former]["a"]


def restarted(topics, owned, names):
    """What members own after an assignment in which the named ones are new, and tell what they had."""
    members = {
        f"{name}-again" if name in names else name: Member(set(topics), {}, of)
        if name in names
        else Member(set(topics), of)
        for name, of in owned.items()
    }
    return {name.removesuffix("-again"): of for name, of in balanced(topics, members).items()}


@given(TOPICS, NAMES)
def test_members_that_are_all_restarted_get_what_they_had(topics, names):
    owned, _ = assign(topics, dict.fromkeys(names, 0))
    assert restarted(topics, owned, set(names)) == owned


@given(st.integers(1, 4), NAMES, st.data())
def test_members_that_are_restarted_or_come_back_get_what_they_had(share, names, data):
    """Where partitions can be shared evenly: else one more of a topic goes to another."""
    topics = {"a": range(share * len(names))}
    owned, _ = assign(topics, dict.fromkeys(names, 0))
    few = data.draw(st.sets(st.sampled_from(names)))
    assert restarted(topics, owned, few) == owned
    for gone in names if len(names) > 1 else ():
        meanwhile, _ = assign(topics, without(dict.fromkeys(names, 0), gone), (owned, {}))
        assert restarted(topics, {**meanwhile, gone: owned[gone]}, {gone}) == owned


@given(SUBSCRIBED)
def test_the_order_of_members_means_nothing(subscribed):
    topics = {"a": range(5), "b": range(3)}
    one = {name: Member(to, {}, {}, wish) for name, (to, wish) in subscribed.items()}
    other = dict(reversed(one.items()))
    assert standbys(topics, balanced(topics, one), one) == standbys(topics, balanced(topics, other), other)


class Cluster:
    def partitions_for_topic(self, topic):
        return {0, 1, 2, 3} if topic == "a" else None


def metadata(user_data):
    return ConsumerProtocolMemberMetadata(0, ["a"], user_data)


def test_the_leader_names_the_standbys_and_members_tell_what_they_were():
    one, two = BalancedAssignor.of_one_consumer(1), BalancedAssignor.of_one_consumer(1)
    assigned = one.assign(Cluster(), {"one": one.metadata(["a"]), "two": two.metadata(["a"])})
    one.on_assignment(assigned["one"])
    two.on_assignment(assigned["two"])
    assert (one.owned, one.standby) == (two.standby, two.owned)
    assert json.loads(assigned["one"].user_data) == {"version": 1, "standby": one.standby}
    told = json.loads(two.metadata(["a"]).user_data)
    assert told == {"version": 1, "owned": two.owned, "standby": two.standby, "standby_replicas": 1}
    assigned = two.assign(Cluster(), {"two": two.metadata(["a"])})
    two.on_assignment(assigned["two"])
    assert (two.owned, two.standby) == ({"a": [0, 1, 2, 3]}, {})


@pytest.mark.parametrize("user_data", [b'{"a":[0]}', b'{"version":1,"owned":{"a":[0]}}', b"", b"\xff"])
def test_a_member_of_an_earlier_release_is_no_standby(user_data):
    one = BalancedAssignor.of_one_consumer(3)
    assigned = one.assign(Cluster(), {"one": one.metadata(["a"]), "earlier": metadata(user_data)})
    assert json.loads(assigned["earlier"].user_data)["standby"] == {}
    standing = json.loads(assigned["one"].user_data)["standby"]["a"]
    assert [("a", standing)] == assigned["earlier"].assignment


@pytest.mark.parametrize("answer", [b"", b"\xff", b"[]", b'{"standby":[1]}'])
def test_the_answer_of_an_earlier_release_names_none(answer):
    one = BalancedAssignor.of_one_consumer(1)
    one.standby = {"a": [3]}
    assigned = one.assign(Cluster(), {"one": one.metadata(["a"])})["one"]
    assigned.user_data = answer
    one.on_assignment(assigned)
    assert (one.owned, one.standby) == ({"a": [0, 1, 2, 3]}, {})


def test_a_wish_below_zero_is_none():
    one = BalancedAssignor.of_one_consumer(1)
    odd = metadata(b'{"version":1,"owned":{},"standby_replicas":-3}')
    assigned = one.assign(Cluster(), {"one": one.metadata(["a"]), "odd": odd})
    assert json.loads(assigned["odd"].user_data)["standby"] == {}


def test_each_consumer_has_a_standby_of_its_own():
    one, two = BalancedAssignor.of_one_consumer(1), BalancedAssignor.of_one_consumer()
    one.standby["a"] = [1]
    assert (two.standby, BalancedAssignor.standby, two.standby_replicas) == ({}, {}, 0)
