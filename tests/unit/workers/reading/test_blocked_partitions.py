"""A reading process names what goes with its journals, once it is blocked for longer than by a worker's transaction."""

from __future__ import annotations

import pytest
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry, Gauge

from annals.testing import MemoryClock
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.read.blocked import BlockedPartitions
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reading.blocked import BlockedReading, ReadingTopics
from shard_scene import Stranger

WHERE = TopicPartition("progress", 1)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (TopicPartition("a.events.person", 2), 4),
        (TopicPartition("a.progress", 2), 4),
        (TopicPartition("a.progress", 0), 2),  # journal partition 2 has its progress there
        (TopicPartition("a.rekeyed.x", 6), 8),  # a reaction's partitions 2 and 6 are run beside it
        (TopicPartition("a.subscriptions", 0), 1),
        (TopicPartition("a.acks.bills", 2), 4),
    ],
)
def test_a_partition_is_named_where_what_it_goes_with_is_read(where: TopicPartition, count: int) -> None:
    topics = ReadingTopics(TopicNames("a."), {"person": 4, "agent": 4})
    assert topics.has(where.topic)
    assert topics.goes_with(where, count, {("person", 2)})


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (TopicPartition("a.events.person", 1), 4),
        (TopicPartition("a.events.agent", 2), 4),
        (TopicPartition("a.progress", 0), 4),
        (TopicPartition("a.rekeyed.x", 7), 8),
    ],
)
def test_one_that_goes_with_partitions_of_other_workers_is_theirs_to_name(where: TopicPartition, count: int) -> None:
    topics = ReadingTopics(TopicNames("a."), {"person": 4, "agent": 4})
    assert topics.has(where.topic)
    assert not topics.goes_with(where, count, {("person", 2)})


@pytest.mark.parametrize("topic", ["progress", "a.commands.person", "a.snapshots.person", "aacks.bills", "a.other"])
def test_other_topics_are_not_looked_at(topic: str) -> None:
    assert not ReadingTopics(TopicNames("a."), {"person": 4}).has(topic)


def test_an_end_that_moves_is_not_blocked() -> None:
    """Transactions follow one another: there is always one open, and never the same."""
    clock = MemoryClock()
    blocked = BlockedPartitions(clock)

    def seconds(stable: int, end: int) -> float:
        clock.advance(10)
        return blocked.seconds(WHERE, stable, end)

    assert [seconds(stable, stable + 1) for stable in range(4)] == [0, 0, 0, 0]
    assert [seconds(3, 9), seconds(9, 9), seconds(9, 10), seconds(9, 12)] == [10, 0, 0, 10]


async def test_it_is_named_once_it_lasts_longer_than_any_of_ours_and_no_more_when_it_ends() -> None:
    model, clock = MemoryCluster({"progress": Topic(2)}), MemoryClock()
    for partition in (0, 1):
        model.append(("progress", partition), b"key", b"value")
    gauge = Gauge("blocked", "", ("topic", "partition"), registry=CollectorRegistry())
    watch = BlockedReading(
        {CLUSTER: Cluster(model)},
        ReadingTopics(TopicNames(""), {"person": 2}),
        lambda: {("person", 0), ("person", 1)},
        gauge,
        clock,
    )
    stranger = Stranger(model, WHERE).write(2)
    await watch.look()
    clock.advance(29)
    await watch.look()
    assert watch.problems == []
    clock.advance(1)
    await watch.look()
    (problem,) = watch.problems
    assert problem.startswith(
        "progress-1 ends at offset 3 and can be read up to offset 1 only, since 2026-01-01T12:00:00Z: "
        "a transaction is open there. It ends by its producer"
    )
    assert [sample.value for metric in gauge.collect() for sample in metric.samples] == [30]
    stranger.end()
    await watch.look()
    assert watch.problems == []
    assert [sample.value for metric in gauge.collect() for sample in metric.samples] == []
