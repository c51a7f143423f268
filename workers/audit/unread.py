"""A range of a journal as far as it can be read: what is behind a damaged batch, too, and which offsets cannot be."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from annals.workers.audit.scan import Unread
from annals.workers.kafka.protocol.record_batches import ChecksumError
from annals.workers.kafka.read.ranges import PATIENCE_S, read_range

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


async def read_around(
    client: AIOKafkaClient, where: TopicPartition, start: int, end: int
) -> AsyncGenerator[list[Record] | Unread, None]:
    """Yield the committed records of a range, in the order of offsets, and of which offsets there are none to be had.

    Checksums are not looked at: the caller looks at what is inside, and names all that is wrong.

    Raises:
        KafkaError, RangeGoneError, FormatError: as `read_range`.
        ChecksumError: the broker sends nothing from the start on, for as long as one waits.
    """
    now = asyncio.get_running_loop().time
    position, is_behind = start, False  # damage, so that nothing before it proves its place
    while position < end:
        began = now()
        try:
            async with aclosing(
                read_range(client, where, position, end, is_checked=False, is_proven=is_behind)
            ) as steps:
                async for records in steps:
                    position = records[-1][0] + 1 if records else position
                    yield records
        except ChecksumError as error:
            if error.goes_on_at == position and not is_behind:  # what is before it is of another range
                is_behind = True
                continue
            if position == start and error.goes_on_at is None and now() - began >= PATIENCE_S:
                raise  # nothing comes at all, and would not for the ranges behind it
            first = min(max(error.offset, position), end - 1)
            position, is_behind = await _behind(client, where, first, end, error), True
            yield Unread(first, position, str(error))
        else:
            return


async def _behind(client: AIOKafkaClient, where: TopicPartition, first: int, end: int, error: ChecksumError) -> int:
    """Return an offset behind a damaged one from which on something can be read; the end, if none is soon found."""
    until = asyncio.get_running_loop().time() + PATIENCE_S
    position, step, damage = first, 1, error
    while True:
        goes_on_at = damage.goes_on_at
        if goes_on_at is not None and position < goes_on_at < end:
            position = goes_on_at
        else:  # a broker may find its way again at each entry of its index
            position, step = position + step, 2 * step
        if position >= end or asyncio.get_running_loop().time() > until:
            return end
        try:
            async with aclosing(read_range(client, where, position, end, 1, is_checked=False, is_proven=True)) as steps:
                async for _ in steps:
                    return position
        except ChecksumError as another:
            damage = another
