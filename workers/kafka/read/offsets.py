"""Offsets, asked of the partition leaders and of the group's coordinator in raw requests.

aiokafka's consumer offers neither both ends of a read_committed partition (last stable offset and high watermark) nor
the metadata of a committed offset; a shard proves itself by both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka.client import AIOKafkaClient


FIRST: Final = -2  # ListOffsets' special timestamps
LAST: Final = -1
HIGH_WATERMARK: Final = 0  # isolation levels: read_uncommitted ends at the high watermark,
LAST_STABLE: Final = 1  # read_committed at the last stable offset
CONSUMER: Final = -1  # the replica id of a consumer


def leader_of(client: AIOKafkaClient, where: TopicPartition) -> int:
    """Return the node that leads a partition, as the client knows it; where it knows none, it looks for it meanwhile.

    Raises:
        LeaderNotAvailableError: there is none at present.
        TopicAuthorizationFailedError: the user may not see the topic, whose leaders nobody tells.
    """
    topic, partition = where
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    if leader is not None and leader >= 0:
        return int(leader)
    client.force_metadata_update()
    if topic in getattr(client.cluster, "unauthorized_topics", ()):
        raise TopicAuthorizationFailedError(f"{topic}-{partition}")
    raise LeaderNotAvailableError(f"{topic}-{partition} has no leader at present")


async def list_offsets(
    client: AIOKafkaClient, isolation: int, timestamp: int, wheres: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return an offset per partition: its `FIRST`, its `LAST`, or the first at or after a timestamp in ms (-1: none).

    Raises:
        KafkaError: a leader is not known or did not answer.
    """
    by_leader: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for topic, partition in wheres:
        leader = leader_of(client, TopicPartition(topic, partition))
        by_leader.setdefault(leader, {}).setdefault(topic, []).append((partition, timestamp))
    found: dict[TopicPartition, int] = {}
    for leader, topics in by_leader.items():
        answer = await client.send(leader, OffsetRequest(CONSUMER, isolation, list(topics.items())))
        for topic, partitions in answer.topics:
            for partition, code, _, offset, *_ in partitions:
                if code:
                    client.force_metadata_update()
                    raise for_code(code)(f"{topic}-{partition}")
                found[TopicPartition(topic, partition)] = offset
    return found


async def committed(client: AIOKafkaClient, group: str, where: TopicPartition) -> tuple[int, str] | None:
    """Return the group's committed offset of a partition with its metadata; None if there is none."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    except GroupAuthorizationFailedError:
        raise GroupAuthorizationFailedError(group) from None  # aiokafka's does not name it
    topic, partition = where
    answer = await client.send(
        node, OffsetFetchRequest(group, [(topic, [partition])]), group=ConnectionGroup.COORDINATION
    )
    if getattr(answer, "error_code", 0):
        raise for_code(answer.error_code)(group)
    for _, partitions in answer.topics:
        for _, offset, metadata, code in partitions:
            if code:
                raise for_code(code)(f"{group}: {topic}-{partition}")
            if offset >= 0:
                return offset, metadata or ""
    return None
