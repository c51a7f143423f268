"""One committed record of a partition, by its offset: by such look-ups losses are told."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from annals.schemas.cid import cid_of
from annals.workers.kafka.read.ranges import read_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


FEW_BYTES: Final = 64 << 10  # mostly the batch behind it as well, which tells whether it is where it was


def has_cid(cid: bytes) -> Callable[[Record], bool]:
    """Return what tells a record whose value has this CID; empty: none has."""
    return lambda record: cid == cid_of(record[2] or b"")


async def record_at(
    client: AIOKafkaClient,
    where: TopicPartition,
    offset: int,
    is_proven: Callable[[Record], bool] = lambda _: False,
    *,
    is_compacted: bool = False,
) -> Record | None:
    """Return the committed record at an offset below the last stable one; None if there is none.

    A record that a disk changed must not pass for one that is gone, so its batch's checksum is checked, unless the
    record proves itself: then it is what was written, and the damage is elsewhere in the batch.

    is_proven: whether a record is the one that is looked for, by a hash of it; asked of those that have a value.
    is_compacted: whether offsets may be missing in the topic, as for `read_range`.

    Raises:
        KafkaError: the leader refuses, or is not there for half a minute.
        RangeGoneError: the offset is not in the partition.
        ChecksumError: the batch is damaged, and the record may be.
    """
    reading = partial(_read, client, where, offset, is_compacted=is_compacted)
    found = await reading(is_checked=False)  # first: a leader that sends nothing is waited for once
    if found is not None and found[2] and is_proven(found):  # one that cannot be read has no value
        return found
    return await reading(is_checked=True)


async def _read(client: AIOKafkaClient, where: TopicPartition, offset: int, **is_told: bool) -> Record | None:
    async with aclosing(read_range(client, where, offset, offset + 1, FEW_BYTES, **is_told)) as steps:
        async for records in steps:
            for record in records:
                return record
    return None
