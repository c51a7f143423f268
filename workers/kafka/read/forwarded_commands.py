"""Which commands of a partition were forwarded already: asked when the group's offset may have been lost.

Whoever decides a forwarded command answers it, so that no outcome of the partition that it came from tells of it. What
does is the copy: it names its original, and is in the transaction that consumed it and all before it. Copies can lie
behind a transaction that another producer holds open there: nobody reads them before it ends, so that is waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.cid import cid_of
from annals.topics.headers import ORIGIN_OFFSET, ORIGIN_PARTITION, decimal_header
from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.read.ranges import bounds, read_range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    Where = tuple[str, int]  # topic, partition
    Copy = tuple[int, bytes]  # offset of the original, fingerprint of the value: thousands of values are gigabytes

STEP_OFFSETS: Final = 10_000  # looked at in one go, from the end backwards
OPEN_POLL_S: Final = 0.5
_NAME: Final = ORIGIN_OFFSET.encode()


async def last_forwarded(
    options: Mapping[str, Any], where: Where, first: int, tell: Callable[[str], None]
) -> int | None:
    """Return the last offset from `first` on of a command of this partition that has a copy in another one, or None.

    Ask behind the fence: no copy of this partition's comes later. tell: is told what is waited for. Headers are
    anybody's to write: a copy counts if its value is that of the original. Where no command was forwarded, the other
    partitions are read to their beginnings.

    Raises:
        KafkaError, RangeGoneError: Kafka does not give what it has.
    """
    topic, own = where
    client = await connect(options, [topic])
    try:
        others = [(topic, other) for other in sorted(client.cluster.partitions_for_topic(topic) or ()) if other != own]
        await _until_visible(client, others, tell)
        reach = await bounds(client, [where, *others])
        last = first - 1
        for other in others:
            last = await _last_of(client, where, other, reach, last)
        return last if last >= first else None
    finally:
        await client.close()


async def _until_visible(client: AIOKafkaClient, others: Sequence[Where], tell: Callable[[str], None]) -> None:
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


async def _last_of(
    client: AIOKafkaClient, where: Where, other: Where, reach: Mapping[Where, tuple[int, int]], known: int
) -> int:
    """Return the last original behind `known` whose copy is in one other partition; `known` if there is none."""
    start, stop = reach[other]
    while stop > start:
        begin = max(start, stop - STEP_OFFSETS)
        for offset, copied in sorted(await _copies(client, other, begin, stop, where[1]), key=_offset, reverse=True):
            if known < offset < reach[where][1] and await _is_original(client, where, offset, copied):
                return offset
        stop = begin
    return known


def _offset(copy: Copy) -> int:
    return copy[0]


async def _copies(client: AIOKafkaClient, where: Where, start: int, stop: int, origin: int) -> list[Copy]:
    copies: list[Copy] = []
    async for records in read_range(client, where, start, stop):
        for _, _, value, raw in records:
            if _NAME not in raw:
                continue
            try:
                headers = headers_of(raw)
            except ValueError:  # more than any copy of ours has
                continue
            offset = decimal_header(headers, ORIGIN_OFFSET)
            if offset is not None and decimal_header(headers, ORIGIN_PARTITION) == origin:
                copies.append((offset, _fingerprint(value)))
    return copies


def _fingerprint(value: bytes | None) -> bytes:
    return b"" if value is None else cid_of(value)


async def _is_original(client: AIOKafkaClient, where: Where, offset: int, copied: bytes) -> bool:
    async for records in read_range(client, where, offset, offset + 1):
        for at, _, original, _ in records:
            if at == offset:
                return _fingerprint(original) == copied
    return False
