"""One committed record of a partition, by its offset: by such look-ups losses are told."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from annals.agents.ports import UnreachableError
from annals.workers.kafka.protocol.record_batches import ChecksumError
from annals.workers.kafka.read.ranges import read_range

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.protocol.record_batches import Record

    Where = tuple[str, int]

ONE_BATCH: Final = 1  # byte: a fetch has a whole batch at least


async def record_at(client: AIOKafkaClient, where: Where, offset: int) -> Record | None:
    """Return the committed record at an offset below the last stable one; None if there is none.

    A record that a disk changed must not pass for one that is gone, so its batch's checksum is checked.

    Raises:
        KafkaError: the leader refuses, or is not there for half a minute.
        RangeGoneError: the offset is not in the partition.
        UnreachableError: the batch is damaged.
    """
    try:
        async with aclosing(read_range(client, where, offset, offset + 1, ONE_BATCH, is_checked=True)) as steps:
            async for records in steps:
                for record in records:
                    return record
    except ChecksumError as error:
        raise UnreachableError(f"{where[0]}-{where[1]}: {error}") from error
    return None
