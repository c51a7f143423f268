"""Topics of a broker: read from the first record, as a consumer with `read_committed` sees them, and deleted."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicMetadata

from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.read.settled_ends import settled_bounds

WITHIN_S = 60


def answered_topics(client: Any) -> dict[str, TopicMetadata] | None:
    """The topics that the broker knows, as it says when it is asked now; None where it does not answer."""
    with suppress(KafkaException):
        return dict(client.list_topics(timeout=30).topics)
    return None


def known_topics(client: Any) -> dict[str, TopicMetadata]:
    """The same; none where it does not answer."""
    return answered_topics(client) or {}


def records_of(bootstrap: str, topic: str) -> list[Any]:
    """Its records; those of a partition in their order."""
    how = {"isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "never-joined", "enable.auto.commit": False, **how}
    )
    try:
        is_open = set(consumer.list_topics(topic, WITHIN_S).topics[topic].partitions)
        assert is_open, f"there is no topic {topic}"
        consumer.assign([Assigned(topic, number) for number in is_open])
        records: list[Any] = []
        while is_open:
            record = consumer.poll(WITHIN_S)
            assert record is not None, f"{topic} is not answered"
            if record.error() is None:
                records.append(record)
            else:
                assert record.error().name() == "_PARTITION_EOF", record.error()
                is_open.discard(record.partition())
        return records
    finally:
        consumer.close()


def commands_of(kind: str, environment: dict[str, str]) -> list[dict[str, Any]]:
    """The commands of a kind that were sent, as JSON has them."""
    topic = f"{environment['ANNALS_TOPIC_PREFIX']}commands.{kind}"
    return [json.loads(record.value()) for record in records_of(environment["ANNALS_BOOTSTRAP_SERVERS"], topic)]


def reader_of(bootstrap: str) -> AIOKafkaConsumer:
    """A consumer of no group, which begins at the first record of what it is assigned."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


async def until_settled(bootstrap: str, topic: str) -> None:
    """Return when no transaction is open in a topic: brokers write the markers of one after they have answered."""
    client = await connect({"bootstrap_servers": bootstrap}, [topic])
    try:
        await settled_bounds(
            client, [TopicPartition(topic, partition) for partition in range(partitions_of(client, topic))]
        )
    finally:
        await client.close()


def until_set(bootstrap: str, topic: str, name: str, value: str) -> None:
    """Return when the broker has a topic's setting: the controller has it, and answers, a moment before."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    deadline = time.monotonic() + WITHIN_S
    while (found := admin.describe_configs([resource])[resource].result(WITHIN_S)[name].value) != value:
        assert time.monotonic() < deadline, f"{topic}: {name} is {found}"


async def delete(bootstrap: str, topic: str) -> None:
    """Return when the broker knows no such topic: it says so some time after it was told."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        async with asyncio.timeout(WITHIN_S):
            while topic in await admin.list_topics():
                pass
    finally:
        await admin.close()
