"""When a restore point is made anew: not for what the last one wrote itself."""

import asyncio

import pytest
import structlog

from annals.agents.writing.restore.making import RestorePoints, RestorePolicy
from annals.agents.writing.shard_id import ShardId
from annals.testing import MemoryClock, MemoryTelemetry
from annals.topics.names import TopicNames
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics


@pytest.mark.parametrize(
    ("events", "seconds", "offsets", "count"),
    [
        (1, 600.0, 1, 0),  # the marker of its own transaction
        (1, 600.0, 2, 1),
        (5, 600.0, 4, 0),
        (5, 600.0, 5, 1),
        (5, 0.0, 1, 0),
        (5, 0.0, 2, 1),
    ],
)
def test_the_marker_of_a_restore_point_is_no_reason_for_the_next(
    events: int, seconds: float, offsets: int, count: int
) -> None:
    """Goes red when a shard with nothing to do writes the same restore point every second."""
    wanted: list[bool] = []
    topics = ShardTopics(
        kind="person", partition=0, names=TopicNames(), limits={}, dead_partitions=1, has_restore_points=True
    )
    points = RestorePoints(
        ShardId("person", "commands.person", 0, 1),
        KafkaShardLog({}, topics, "shard", "annals", "none"),
        1,
        RestorePolicy(events, seconds),
        MemoryClock(),
        MemoryTelemetry(),
        asyncio.Semaphore(1),
        lambda: wanted.append(True),
        structlog.get_logger(),
    )
    points._since = 10
    points.consider(10 + offsets)
    assert len(wanted) == count
