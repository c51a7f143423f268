"""Reading a compacted partition to its end, transactions that are under way included."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from annals.agents.ports import UnreachableError
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.read.ranges import RangeGoneError, bounds, read_range

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.protocol.record_batches import Record

    Where = tuple[str, int]

SETTLED_WITHIN_S: Final = 30.0  # longer than the transaction of a writer that died may last
LOOK_S: Final = 0.01


async def settled_end(client: AIOKafkaClient, where: Where) -> int:
    """Return the end of a partition once no transaction before it is open.

    Raises:
        UnreachableError: one stays open for longer than it may.
        KafkaError: a leader does not answer.
    """
    end = (await bounds(client, [where], HIGH_WATERMARK))[where][1]
    deadline = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    while (await bounds(client, [where]))[where][1] < end:
        if asyncio.get_running_loop().time() > deadline:
            raise UnreachableError(
                f"{where[0]}-{where[1]}: a transaction has been open for {SETTLED_WITHIN_S:.0f} s. If it never ends, "
                f"kafka-transactions.sh find-hanging names it, and abort ends it"
            )
        await asyncio.sleep(LOOK_S)
    return end


async def records_until(client: AIOKafkaClient, where: Where, start: int, end: int) -> AsyncGenerator[Record, None]:
    """Yield the committed records from an offset (-1: the first that is there) to below the end."""
    try:
        start = max(start, (await bounds(client, [where]))[where][0])
        async with aclosing(read_range(client, where, start, end)) as steps:
            async for records in steps:
                for record in records:
                    yield record
    except RangeGoneError as error:
        raise UnreachableError(str(error)) from error
