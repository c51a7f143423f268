"""The topic `schemas`: what it says, and the writing of what differs."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from annals.topics.catalog import SCHEMA_PARTITIONS, SCHEMA_TOPIC_BYTES
from annals.topics.schemas import release_of, schema_headers, schema_key
from annals.workers.kafka.connections import stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from annals.schemas.json_schemas.json_schema import MessageSchema


class Kept(NamedTuple):
    """What the topic says of a key: the schema's text, and the release that published it first."""

    value: bytes
    release: str | None


async def read(options: Mapping[str, Any], topic: str) -> dict[str, Kept]:
    """The newest record of each key.

    Raises:
        KafkaError: the brokers do not answer, or refuse.
    """
    consumer = reading_consumer(**options, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, partition) for partition in range(SCHEMA_PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[str, Kept] = {}
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for record in (await consumer.getmany(partition, timeout_ms=1000)).get(partition, ()):
                    key = (record.key or b"").decode(errors="replace")
                    if record.value is None:
                        found.pop(key, None)
                    else:
                        found[key] = Kept(record.value, release_of(record.headers))
        return found
    finally:
        await stop_consumer(consumer)


def changes(
    kept: Mapping[str, Kept], schemas: Iterable[MessageSchema], release: str
) -> dict[str, tuple[MessageSchema, Kept]]:
    """What is to be written, by key. What a later release published is left: it knows more.

    A schema that is published again keeps the release that published it first.
    """
    wanted = {}
    for schema in schemas:
        key = schema_key(schema.kind, schema.name, schema.version)
        value = orjson.dumps(schema.schema)
        old = kept.get(key)
        if old is None:
            wanted[key] = (schema, Kept(value, release))
        elif old.value != value and not is_later(old.release, release):
            wanted[key] = (schema, Kept(value, old.release or release))
    return wanted


def is_later(release: str | None, than: str) -> bool:
    """Whether a release came after another, by their numbers."""
    return release is not None and _numbers(release) > _numbers(than)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release, re.ASCII)[:3])


async def write(options: Mapping[str, Any], topic: str, wanted: Mapping[str, tuple[MessageSchema, Kept]]) -> None:
    """Write the records, and return when all of them are stored.

    Raises:
        KafkaError: the brokers do not answer, or refuse.
    """
    producer = AIOKafkaProducer(**options, enable_idempotence=True, max_request_size=SCHEMA_TOPIC_BYTES)
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic,
                kept.value,
                key=key.encode(),
                partition=0,
                headers=schema_headers(schema.role, kept.release or ""),
            )
            for key, (schema, kept) in wanted.items()
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
