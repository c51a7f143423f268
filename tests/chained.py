"""Chains of events as a journal's records, for tests that read, break or verify them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from annals.schemas.chain import seal
from annals.schemas.cid import cid_text
from annals.topics.headers import event_headers
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import bounds

WITHIN_S = 60
RECORDED_AT = "2026-11-21T09:30:00.123456Z"
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True)
class Sealed:
    """One record of a journal, and what it was made from."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    version: int
    cid: bytes

    def but(self, **changes: Any) -> "Sealed":
        return replace(self, **changes)

    def with_header(self, name: str, value: bytes | None) -> "Sealed":
        return self.but(headers=[(each, value if each == name else old) for each, old in self.headers])


def sealed(
    aggregate_id: str,
    version: int,
    previous: bytes | None,
    *,
    data: dict[str, Any] | None = None,
    kind: str = "person",
    command_id: str | None = None,
    causation_id: str | None = None,
    correlation_id: str | None = None,
    actor: str | None = "hr-service",
    traceparent: bytes | None = None,
    via: bytes | None = None,
    type_name: str = "PersonRenamed",
    schema_version: int = 1,
    recorded_at: str = RECORDED_AT,
) -> Sealed:
    """An event as the worker writes it, whatever its place in a chain."""
    command = command_id or f"command-{version}"
    said = {"name": f"Ada {version}"} if data is None else data
    block, cid = seal(
        kind=kind,
        aggregate_id=aggregate_id,
        version=version,
        previous=previous,
        type=type_name,
        schema_version=schema_version,
        recorded_at=recorded_at,
        command_id=command,
        correlation_id=correlation_id or command,
        causation_id=causation_id,
        actor=actor,
        data=said,
    )
    headers = event_headers(
        kind=kind,
        key=aggregate_id.encode(),
        version=version,
        type_name=type_name,
        schema_version=schema_version,
        recorded_at=recorded_at,
        cid=cid_text(cid),
        command_id=command,
        correlation_id=correlation_id or command,
        causation_id=causation_id,
        actor=actor,
        traceparent=traceparent,
        via=via,
    )
    return Sealed(aggregate_id.encode(), block, list(headers), version, cid)


def chain(aggregate_id: str, count: int, after: Sealed | None = None, **how: Any) -> list[Sealed]:
    """The next `count` events of an aggregate."""
    events: list[Sealed] = []
    last = after
    for _ in range(count):
        last = sealed(aggregate_id, last.version + 1 if last else 1, last.cid if last else None, **how)
        events.append(last)
    return events


def records(events: Sequence[Sealed], start: int = 0) -> list[tuple[int, bytes | None, bytes | None, Any]]:
    """The events as records with offsets."""
    return [(offset, each.key, each.value, each.headers) for offset, each in enumerate(events, start)]


ROOMY = {"max.message.bytes": "8388608", "retention.ms": "-1"}


async def make_topics(
    bootstrap: str, names: Sequence[str], partitions: int = 1, configs: dict[str, str] = ROOMY
) -> None:
    """Create topics, with room for the largest blocks, and wait until they have leaders."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs) for name in names])
    finally:
        await admin.close()
    client = await connect({"bootstrap_servers": bootstrap}, [])
    try:
        async with asyncio.timeout(WITHIN_S):
            while not all(client.cluster.partitions_for_topic(name) for name in names):
                await client.force_metadata_update()
            await bounds(client, [TopicPartition(name, partition) for name in names for partition in range(partitions)])
    finally:
        await client.close()


async def write(bootstrap: str, topic: str, events: Sequence[Sealed], partition: int = 0, **how: Any) -> list[int]:
    """Write events to a partition, and return their offsets."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=8 << 20, **how)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, each.value, each.key, partition, 1_770_000_000_000, each.headers)
            for each in events
        ]
        return [(await each).offset for each in sent]
    finally:
        await producer.stop()
