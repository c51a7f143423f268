"""The events of one aggregate that count, read from Kafka and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from annals.schemas.chain import ForeignError, Verdict, judge, read_block
from annals.schemas.cid import cid_of, cid_text
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect, partitions_of
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from annals.workers.settings import Settings


class GapError(Exception):
    """A chain goes on where events are missing; the message says where."""


class Counted(NamedTuple):
    """An event that counts: the block's map (the link is 36 bytes), its CID, and where it stands."""

    event: dict[str, Any]
    cid: bytes
    partition: int
    offset: int

    def as_json(self) -> bytes:
        """Return the block as DAG-JSON, with members `cid`, `partition` and `offset` beside its own."""
        previous = self.event["previous"]
        document = {
            **self.event,
            "previous": None if previous is None else {"/": cid_text(previous)},
            "cid": cid_text(self.cid),
            "partition": self.partition,
            "offset": self.offset,
        }
        try:
            return orjson.dumps(document)
        except TypeError:  # data that nest beyond what orjson writes
            return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


async def history(settings: Settings, kind: str, aggregate_id: str) -> AsyncGenerator[Counted, None]:
    """Yield the events of an aggregate that count, from the one partition that its key belongs to.

    Raises:
        MissingTopicError: the kind has no journal.
        GapError: events are missing; those before the gap were yielded.
        KafkaError: Kafka does not give what it has.
    """
    key, topic = aggregate_id.encode(), TopicNames(settings.topic_prefix).events(kind)
    client = await connect(client_options(settings), [])
    try:
        partition = partition_of(key, partitions_of(client, topic))
        where = (topic, partition)
        start, end = (await bounds(client, [where]))[where]
        version, head, voids = 0, None, set[bytes | None]()
        async for records in read_range(client, where, start, end):
            for offset, record_key, value, _ in records:
                if record_key != key or value is None:
                    continue
                try:
                    event = read_block(kind, value)
                except ForeignError:
                    continue
                if event["aggregate_id"] != aggregate_id:
                    continue
                cid, previous = cid_of(value), event["previous"]
                verdict = judge(event["version"], previous, version, head, previous_is_void=previous in voids)
                if verdict is Verdict.COUNTS:
                    version, head = event["version"], cid
                    yield Counted(event, cid, partition, offset)
                elif verdict is Verdict.VOID:
                    voids.add(cid)
                else:
                    raise GapError(
                        f"gap in the chain of {kind} {aggregate_id!r}: {topic}-{partition} offset {offset} has version "
                        f"{event['version']}, the last event that counts is version {version}: events are missing"
                    )
    finally:
        await client.close()
