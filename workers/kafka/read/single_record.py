"""One committed record of a partition, by its offset: by such look-ups losses are told."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from annals.schemas.cid import cid_of
from annals.workers.kafka.protocol.record_batches import ChecksumError
from annals.workers.kafka.read.ranges import read_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


ONE_BATCH: Final = 1  # byte: a fetch has a whole batch at least


def has_cid(cid: bytes) -> Callable[[Record], bool]:
    """Return what tells a record whose value has this CID; empty: none has."""
    return lambda record: cid == cid_of(record[2] or b"")


async def record_at(
    client: AIOKafkaClient, where: TopicPartition, offset: int, is_proven: Callable[[Record], bool] = lambda _: False
) -> Record | None:
    """Return the committed record at an offset below the last stable one; None if there is none.

    A record that a disk changed must not pass for one that is gone, so its batch's checksum is checked, unless the
    record proves itself: then it is what was written, and the damage is elsewhere in the batch.

    is_proven: whether a record is the one that is looked for, by a hash of it; asked of those that have a value.

    Raises:
        KafkaError: the leader refuses, or is not there for half a minute.
        RangeGoneError: the offset is not in the partition.
        ChecksumError: the batch is damaged, and the record may be.
    """
    try:
        return await _read(client, where, offset, is_checked=True)
    except ChecksumError:
        found = await _read(client, where, offset, is_checked=False)
        if found is not None and found[2] and is_proven(found):  # one that cannot be read has no value
            return found
        raise


async def _read(client: AIOKafkaClient, where: TopicPartition, offset: int, *, is_checked: bool) -> Record | None:
    async with aclosing(read_range(client, where, offset, offset + 1, ONE_BATCH, is_checked=is_checked)) as steps:
        async for records in steps:
            for record in records:
                return record
    return None
