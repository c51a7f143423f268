"""Every event in the journals, partition by partition. Foreign records are passed over; void events are stored too."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from annals.schemas.journal_reader import Foreign, RememberingReader
from annals.topics.keys import keys_of
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import read_range
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.client import AIOKafkaClient

    from annals.workers.audit.journals import Journal
    from annals.workers.settings import Settings


@asynccontextmanager
async def connected(settings: Settings, topics: list[str]) -> AsyncIterator[AIOKafkaClient]:
    """A connection that knows the leaders of these topics.

    Raises:
        KafkaConnectionError: no broker answers.
    """
    client = await connect(client_options(settings), topics)
    try:
        yield client
    finally:
        await client.close()


async def events_of(client: AIOKafkaClient, journal: Journal) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
    """Each event's map and its CID, whether it counts or is void, and also behind a gap.

    Raises:
        KafkaError: the leader refuses, or is not there for half a minute.
        RangeGoneError: the journal was cut while it was read.
    """
    place = journal.place
    reader = RememberingReader(place.kind, keys_of(place.partition, place.partitions))
    async for records in read_range(client, TopicPartition(place.topic, place.partition), journal.start, journal.end):
        for offset, key, value, _ in records:
            record = reader.read(offset, key, value)
            if type(record) is not Foreign:
                yield record.event, record.cid
