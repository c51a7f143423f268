"""The copies of a partition's forwarded commands: asked for when the group's offset may have been lost.

Whoever decides a forwarded command answers it, so that no outcome of the partition that it came from tells of it. What
does is the copy: it names its original, and is in the transaction that consumed it and all before it. Copies can lie
behind a transaction that another producer holds open there: nobody reads them before it ends, so that is waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.ports import CopyRecord
from annals.topics.headers import ORIGIN_OFFSET, ORIGIN_PARTITION, decimal_header
from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.read.ranges import bounds, read_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.ports import DeadLetterRecord


STEP_OFFSETS: Final = 10_000  # looked at in one go, from the end backwards
OPEN_POLL_S: Final = 0.5
_NAME: Final = ORIGIN_OFFSET.encode()


async def copies_of(
    options: Mapping[str, Any], where: TopicPartition, tell: Callable[[str], None]
) -> AsyncIterator[list[CopyRecord]]:
    """Yield what calls itself the copy of a command of this partition, in steps, in each other one from its end.

    Ask behind the fence: no copy of this partition's comes later. tell: is told what is waited for. Headers are
    anybody's to write: the caller compares the rest. Who asks for more reads the other partitions to their beginnings.

    Raises:
        KafkaError, RangeGoneError: Kafka does not give what it has.
    """
    topic, own = where
    client = await connect(options, [topic])
    try:
        others = [
            TopicPartition(topic, other)
            for other in sorted(client.cluster.partitions_for_topic(topic) or ())
            if other != own
        ]
        await _until_visible(client, others, tell)
        reach = await bounds(client, others)
        for other in others:
            start, stop = reach[other]
            while stop > start:
                begin = max(start, stop - STEP_OFFSETS)
                async for copies in _copies(client, other, begin, stop, own):
                    yield copies
                stop = begin
    finally:
        await client.close()


async def _until_visible(client: AIOKafkaClient, others: Sequence[TopicPartition], tell: Callable[[str], None]) -> None:
    """Wait until all that is in these partitions now is committed or aborted. What comes later is not waited for."""
    ends = await bounds(client, others, HIGH_WATERMARK)
    while True:
        stable = await bounds(client, others)
        held = [where for where in others if stable[where][1] < ends[where][1]]
        if not held:
            return
        topic, partition = held[0]
        tell(
            f"commands that were forwarded may lie behind a producer's transaction, open on {topic}-{partition} since "
            f"offset {stable[held[0]][1]}; it ends by its producer or by the broker's timeout"
        )
        await asyncio.sleep(OPEN_POLL_S)


async def _copies(
    client: AIOKafkaClient, where: TopicPartition, start: int, stop: int, origin: int
) -> AsyncIterator[list[CopyRecord]]:
    """Yield copies in steps that `read_range` bounds in bytes."""
    async for records in read_range(client, where, start, stop):
        copies: list[CopyRecord] = []
        for _, key, value, raw in records:
            if _NAME not in raw:
                continue
            try:
                headers = headers_of(raw)
            except ValueError:  # more than any copy of ours has
                continue
            offset = decimal_header(headers[-1:], ORIGIN_OFFSET)
            if offset is not None and headers[-2:-1] == [(ORIGIN_PARTITION, b"%d" % origin)]:
                copies.append(CopyRecord(where.partition, offset, key, value, headers[:-2]))
        if copies:
            yield copies


def letters_of(records: Iterable[Any], where: TopicPartition) -> list[DeadLetterRecord]:
    """Return those of these dead letters that name commands of this partition."""
    topic, partition = where
    letters: list[DeadLetterRecord] = []
    for record in records:
        headers = dict(record.headers)
        offset = decimal_header(record.headers, "source-offset")
        source = headers.get("source-topic"), headers.get("source-partition")
        if offset is not None and source == (topic.encode(), b"%d" % partition):
            letters.append((offset, record.key, record.value))
    return letters
