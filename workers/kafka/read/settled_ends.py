"""Reading a compacted partition to its end, transactions that are under way included."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.ports import UnreachableError
from annals.agents.waiting import in_turns
from annals.workers.kafka.protocol.record_batches import ChecksumError, FormatError
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.read.ranges import FETCH_BYTES, RangeGoneError, bounds, read_range

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


SETTLED_WITHIN_S: Final = 25.0  # a writer's that died lasts 20 at most; a request may take 30, and is told why
LOOK_S: Final = 0.01


class OpenTransactionError(UnreachableError):
    """A transaction has been open for longer than it may: asking once more at once would be as long in vain."""


async def settled_bounds(
    client: AIOKafkaClient, wheres: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset and the end of each partition once no transaction before these ends is open.

    Raises:
        OpenTransactionError: one stays open for longer than it may.
        KafkaError: a leader does not answer.
    """
    found = await bounds(client, wheres, HIGH_WATERMARK)
    deadline = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    left = list(found)
    while left := [where for where, (_, end) in (await bounds(client, left)).items() if end < found[where][1]]:
        if asyncio.get_running_loop().time() > deadline:
            topic, partition = left[0]
            raise OpenTransactionError(
                f"{topic}-{partition}: a transaction has been open for {SETTLED_WITHIN_S:.0f} s. If it never ends, "
                f"kafka-transactions.sh find-hanging names it, and abort ends it"
            )
        await asyncio.sleep(LOOK_S)
    return found


async def settled_end(client: AIOKafkaClient, where: TopicPartition) -> int:
    """Return the end of a partition once no transaction before it is open; raises as `settled_bounds`."""
    return (await settled_bounds(client, [where]))[where][1]


async def records_until(
    client: AIOKafkaClient, where: TopicPartition, start: int, end: int, most_bytes: int = FETCH_BYTES
) -> AsyncGenerator[Record, None]:
    """Yield the committed records from an offset (-1: the first that is there) to below the end.

    After each TURN_RECORDS whatever else the event loop has to do is done.

    most_bytes: of a fetch; one batch comes whatever its size.

    Raises:
        DamagedBatchError: a batch is damaged; what it says must not pass for nothing, since what was before would hold.
        UnreachableError, KafkaError: they cannot be read.
    """
    try:
        start = max(start, (await bounds(client, [where]))[where][0])
        async with aclosing(read_range(client, where, start, end, most_bytes, is_compacted=True)) as steps:
            async for records in steps:
                async with aclosing(in_turns(records, TURN_RECORDS)) as turns:
                    async for some in turns:
                        for record in some:
                            yield record
    except ChecksumError:
        raise
    except (FormatError, RangeGoneError) as error:
        raise UnreachableError(str(error)) from error
