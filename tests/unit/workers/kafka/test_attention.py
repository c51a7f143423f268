"""Which partitions a fetch asks for: the busy ones, and all of them often enough."""

from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.kafka.group.active_partitions import (
    MANY_RECORDS,
    QUIET_AFTER_S,
    QUIET_WAIT_S,
    ActivePartitions,
    FetchInterval,
)

NODE = 1
TOPICS = [("a", [(0, 10, 1), (1, 11, 1)]), ("b", [(0, 12, 1)])]
ALL = {TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)}
JUST_BEFORE_S = QUIET_WAIT_S / 2


def named(topics):
    return {TopicPartition(topic, partition) for topic, partitions in topics for partition, _, _ in partitions}


def asked_all(active_partitions, now, node=NODE):
    return active_partitions.narrow(node, TOPICS, now) is None


def test_the_first_fetch_asks_for_all() -> None:
    active_partitions = ActivePartitions()
    active_partitions.note_records(ALL, 5.0)
    assert asked_all(active_partitions, 5.0)


def test_where_nothing_is_busy_every_fetch_asks_for_all() -> None:
    active_partitions = ActivePartitions()
    assert all(asked_all(active_partitions, now) for now in (5.0, 5.001, 5.002))


def test_busy_partitions_are_asked_for_alone_until_it_is_time_for_all() -> None:
    active_partitions = ActivePartitions()
    assert asked_all(active_partitions, 5.0)
    active_partitions.note_records([TopicPartition("a", 1)], 5.0)
    found = active_partitions.narrow(NODE, TOPICS, 5.0 + JUST_BEFORE_S)
    assert found is not None
    topics, wait_s = found
    assert topics == [("a", [(1, 11, 1)])]
    assert 0 < wait_s <= QUIET_WAIT_S - JUST_BEFORE_S + 1e-9
    assert asked_all(active_partitions, 5.0 + QUIET_WAIT_S)


def test_a_partition_is_quiet_again_after_a_second() -> None:
    active_partitions = ActivePartitions()
    active_partitions.note_records([TopicPartition("a", 1)], 5.0)
    now = 5.0 + QUIET_AFTER_S
    assert asked_all(active_partitions, now - 2 * JUST_BEFORE_S)
    assert not asked_all(active_partitions, now - JUST_BEFORE_S)
    assert asked_all(active_partitions, now)
    assert asked_all(active_partitions, now + JUST_BEFORE_S)


def test_each_broker_has_its_own_time() -> None:
    active_partitions = ActivePartitions()
    assert asked_all(active_partitions, 5.0)
    active_partitions.note_records([TopicPartition("a", 1)], 5.0)
    assert asked_all(active_partitions, 5.0 + JUST_BEFORE_S, node=2)
    assert not asked_all(active_partitions, 5.0 + JUST_BEFORE_S)


FETCHES = st.lists(st.tuples(st.floats(0, 0.02), st.sets(st.sampled_from(sorted(ALL)))), min_size=1, max_size=60)


@given(FETCHES)
def test_no_partition_waits_longer_than_it_may(fetches) -> None:
    active_partitions, now = ActivePartitions(), 100.0
    last = dict.fromkeys(ALL, now)
    assert asked_all(active_partitions, now)
    for pause_s, brought in fetches:
        now += pause_s
        found = active_partitions.narrow(NODE, TOPICS, now)
        topics, wait_s = (TOPICS, 0.0) if found is None else found
        assert named(topics)
        last.update(dict.fromkeys(named(topics), now))
        # whoever was left out is asked for next, at the latest when this fetch has waited as long as it may
        assert all(now + wait_s - since <= QUIET_WAIT_S + 1e-9 for since in last.values())
        active_partitions.note_records(brought & named(topics), now)


def test_fetches_from_a_broker_begin_an_interval_apart_and_the_first_after_a_quiet_time_at_once() -> None:
    interval = FetchInterval(0.5)
    assert interval.left_s(NODE, 5.0) == 0.0
    assert interval.left_s(2, 5.0) == 0.0  # another broker
    assert interval.left_s(NODE, 5.125) == 0.375  # it begins at 5.5
    assert interval.left_s(NODE, 5.75) == 0.25
    assert interval.left_s(NODE, 7.0) == 0.0


def test_without_an_interval_no_fetch_waits() -> None:
    interval = FetchInterval(0.0)
    assert [interval.left_s(NODE, 5.0) for _ in range(3)] == [0.0] * 3


def test_more_time_is_kept_while_fetches_bring_many_records() -> None:
    interval = FetchInterval(0.5, 2.0)
    assert interval.left_s(NODE, 10.0) == 0.0
    interval.note_records(MANY_RECORDS - 1)
    assert interval.left_s(NODE, 10.25) == 0.25
    interval.note_records(MANY_RECORDS)
    assert interval.left_s(NODE, 10.75) == 0.25
    assert interval.left_s(NODE, 11.5) == 1.5
    interval.note_records(0)
    assert interval.left_s(NODE, 13.25) == 1.75
    assert interval.left_s(NODE, 15.25) == 0.25
