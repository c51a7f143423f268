"""The events of one aggregate that count, read from Kafka and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.structs import TopicPartition

from annals.schemas.dag_json import event_json
from annals.schemas.journal_reader import Counted, Gap, GapError, RememberingReader
from annals.topics.keys import keys_of, partition_of
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from annals.workers.settings import Settings


class HistoricEvent(NamedTuple):
    """An event that counts: the block's map (the link is 36 bytes), its CID, and where it stands."""

    event: dict[str, Any]
    cid: bytes
    partition: int
    offset: int

    def as_json(self) -> bytes:
        """Return the block as DAG-JSON, with members `cid`, `partition` and `offset` beside its own."""
        return event_json(self.event, self.cid, self.partition, self.offset)


async def history(settings: Settings, kind: str, aggregate_id: str) -> AsyncGenerator[HistoricEvent, None]:
    """Yield the events of an aggregate that count, from the one partition that its key belongs to.

    Raises:
        MissingTopicError: the kind has no journal.
        GapError: events are missing; those before the gap were yielded.
        KafkaError: Kafka does not give what it has.
    """
    key, topic = aggregate_id.encode(), TopicNames(settings.topic_prefix).events(kind)
    client = await connect(client_options(settings), [])
    try:
        partitions = partitions_of(client, topic)
        partition = partition_of(key, partitions)
        where = TopicPartition(topic, partition)
        start, end = (await bounds(client, [where]))[where]
        reader = RememberingReader(kind, keys_of(partition, partitions))
        async for records in read_range(client, where, start, end):
            for offset, _, value, _ in (record for record in records if record[1] == key):
                found = reader.read(offset, key, value)
                if type(found) is Counted:
                    yield HistoricEvent(found.event, found.cid, partition, offset)
                elif type(found) is Gap:
                    raise GapError(found.describe(f"{topic}-{partition} offset {offset}"))
    finally:
        await client.close()
