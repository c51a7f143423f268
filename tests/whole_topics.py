"""Topics of a broker: read from the first record, as a consumer with `read_committed` sees them, and deleted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Consumer, TopicPartition

WITHIN_S = 60


def records_of(bootstrap: str, topic: str) -> list[Any]:
    """Its records; those of a partition in their order."""
    how = {"isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "never-joined", "enable.auto.commit": False, **how}
    )
    try:
        is_open = set(consumer.list_topics(topic, WITHIN_S).topics[topic].partitions)
        assert is_open, f"there is no topic {topic}"
        consumer.assign([TopicPartition(topic, number) for number in is_open])
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
