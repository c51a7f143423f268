"""The topic `schemas`: what it says, and the writing of what differs.

Anybody who may write there can write anything under any key: only what this release compares is kept in memory, and
what a later release is said to have published is left only if it says all that this release's schema says.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from annals.topics.catalog import SCHEMA_PARTITIONS, SCHEMA_TOPIC_BYTES
from annals.topics.schemas import release_of, schema_headers, schema_key
from annals.topics.wire import NO_TIMESTAMP
from annals.workers.kafka.connections import creating_nothing, stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from annals.schemas.json_schemas.json_schema import MessageSchema


log = structlog.get_logger(__name__)

MOST_OTHERS: Final = 10_000
"""Keys of other releases and registries that are remembered, for the release that published them."""
LONGEST_KEY: Final = 300
LONGEST_RELEASE: Final = 100
LARGEST: Final = 256 << 10
OPEN: Final = frozenset({"properties", "$defs"})
"""Where a later release may say more."""
NOTES: Final = frozenset({"title", "description", "examples"})


class Kept(NamedTuple):
    """What the topic says of a key: the schema's text, and the release that published it first.

    The text is empty where it was not asked for, or is too large for a schema.
    """

    value: bytes
    release: str | None


async def read(options: Mapping[str, Any], topic: str, wanted: Collection[str]) -> dict[str, Kept]:
    """The newest record of each key; of those that are not wanted, of not too many, only the release.

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
                    if len(record.key or b"") <= LONGEST_KEY:
                        _take(found, (record.key or b"").decode(errors="replace"), record, wanted)
        return found
    finally:
        await stop_consumer(consumer)


def _take(found: dict[str, Kept], key: str, record: Any, wanted: Collection[str]) -> None:
    if record.value is None:
        found.pop(key, None)
    elif key in wanted:
        value = record.value if len(record.value) <= LARGEST else b""
        found[key] = Kept(value, _release(record))
    elif key in found or len(found) < len(wanted) + MOST_OTHERS:
        found[key] = Kept(b"", _release(record))


def _release(record: Any) -> str | None:
    release = release_of(record.headers)
    return release if release is None or len(release) <= LONGEST_RELEASE else None


def changes(
    kept: Mapping[str, Kept], schemas: Iterable[MessageSchema], release: str
) -> dict[str, tuple[MessageSchema, Kept]]:
    """What is to be written, by key. What a later release published is left if it extends ours: it knows more.

    A schema that is published again keeps the release that published it first, unless that is said by a record that no
    later release wrote.
    """
    wanted = {}
    for schema in schemas:
        key = schema_key(schema.kind, schema.name, schema.version)
        value = orjson.dumps(schema.schema)
        old = kept.get(key)
        if old is None:
            wanted[key] = (schema, Kept(value, release))
        elif old.value == value:
            continue
        elif not is_later(old.release, release):
            wanted[key] = (schema, Kept(value, old.release or release))
        elif not _extends(old.value, value):
            log.error("a record of the topic schemas is no later form of a schema", key=key, said=old.release)
            wanted[key] = (schema, Kept(value, release))
    return wanted


def _extends(value: bytes, ours: bytes) -> bool:
    try:
        return says_all(orjson.loads(value), orjson.loads(ours))
    except orjson.JSONDecodeError:
        return False


def says_all(theirs: Any, ours: Any, *, is_open: bool = False) -> bool:
    """Whether a schema says all that ours says, notes aside, and more only of members and definitions.

    is_open: this is a map of those. It takes time in the size of ours, whatever theirs is.
    """
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return bool(theirs == ours)
    names = ours.keys() if is_open else ours.keys() - NOTES
    if not is_open and any(name not in ours and name not in NOTES for name in theirs):
        return False
    return all(name in theirs and says_all(theirs[name], ours[name], is_open=name in OPEN) for name in names)


def is_later(release: str | None, than: str) -> bool:
    """Whether a release came after another, by their numbers."""
    return release is not None and _numbers(release) > _numbers(than)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", release, re.ASCII)[:3])


async def write(options: Mapping[str, Any], topic: str, wanted: Mapping[str, tuple[MessageSchema, Kept]]) -> None:
    """Write the records, and return when all of them are stored.

    Raises:
        KafkaError: the brokers do not answer, or refuse.
    """
    producer = creating_nothing(
        AIOKafkaProducer(**options, enable_idempotence=True, max_request_size=SCHEMA_TOPIC_BYTES)
    )
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic,
                kept.value,
                key=key.encode(),
                partition=0,
                timestamp_ms=NO_TIMESTAMP,
                headers=schema_headers(schema.role, kept.release or ""),
            )
            for key, (schema, kept) in wanted.items()
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
