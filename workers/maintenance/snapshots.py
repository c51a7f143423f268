"""Snapshots written beside running workers, so that of each aggregate the newest stays the last one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer

from annals.schemas.snapshot import SnapshotError, decode_snapshot
from annals.topics.catalog import SNAPSHOT_TOPIC_BYTES
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import creating_nothing
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.kafka.write.batches import PartitionBatches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition


STABLE_POLL_S: Final = 0.05
NOTHING: Final = encode_headers([])


def is_too_large(key: bytes, snapshot: bytes) -> bool:
    """Whether the topic would not take a snapshot."""
    return bool(PartitionBatches(SNAPSHOT_TOPIC_BYTES).oversize([(key, snapshot, NO_TIMESTAMP, NOTHING)]))


async def put_newest(
    client: AIOKafkaClient,
    options: Mapping[str, Any],
    where: TopicPartition,
    since: int,
    snapshots: Mapping[bytes, bytes],
) -> None:
    """Write a snapshot of each key to a partition.

    Compaction keeps the last one of a key, and a worker can write a newer one at any time. What one wrote from offset
    `since` on, and stands before ours, is written once more behind it, until there is none.

    Raises:
        KafkaError: the brokers do not answer, or refuse.
        RangeGoneError: the topic was cut or made anew meanwhile.
    """
    newest = dict(snapshots)
    waiting: Mapping[bytes, bytes] = newest
    while waiting:
        last = await _write(options, where, waiting)
        await _until_visible(client, where, last)
        standing: dict[bytes, bytes] = {}
        async for records in read_range(client, where, since, last + 1, is_compacted=True):
            for _, key, value, _ in records:
                if key in newest and value is not None:
                    standing[key] = value
                    if _version(value) > _version(newest[key]):
                        newest[key] = value
        waiting = {key: newest[key] for key, value in standing.items() if _version(value) < _version(newest[key])}


async def _until_visible(client: AIOKafkaClient, where: TopicPartition, last: int) -> None:
    """Wait until nothing is open up to an offset: a worker's transaction may be."""
    while True:
        _, stable = (await bounds(client, [where]))[where]
        if stable > last:
            return
        await asyncio.sleep(STABLE_POLL_S)


def _version(value: bytes) -> int:
    try:
        return decode_snapshot(value).version
    except SnapshotError:
        return 0


async def _write(options: Mapping[str, Any], where: TopicPartition, snapshots: Mapping[bytes, bytes]) -> int:
    """Write them, and return the offset of the last one."""
    topic, partition = where
    async with creating_nothing(
        AIOKafkaProducer(**options, enable_idempotence=True, max_request_size=SNAPSHOT_TOPIC_BYTES)
    ) as producer:
        sent = [
            await producer.send(topic, value, key, partition, timestamp_ms=NO_TIMESTAMP)
            for key, value in snapshots.items()
        ]
        # flush() says nothing of what the broker refused
        offsets: list[int] = [record.offset for record in await asyncio.gather(*sent)]
        return max(offsets)
