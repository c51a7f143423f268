"""Dead letters and their settlements, read from Kafka."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.dead_letters.letter import DeadLetterRecord
from annals.agents.dead_letters.settled import Settled
from annals.agents.ports import UnreachableError
from annals.schemas.settlement import parse_settlement
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.ranges import RangeGoneError, read_range
from annals.workers.publishing.progress_topic import records_until, settled_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiokafka.client import AIOKafkaClient

    from annals.topics.headers import ReadHeaders

    Where = tuple[str, int]

NO_HEADERS: Final[ReadHeaders] = ()
log = structlog.get_logger(__name__)


async def read_settled(client: AIOKafkaClient, topic: str) -> Settled:
    """Return what is settled, transactions that are under way included.

    Raises:
        UnreachableError, KafkaError: it cannot be read to its end.
    """
    settled = Settled()
    where = (topic, 0)
    async for offset, key, value, _ in records_until(client, where, -1, await settled_end(client, where)):
        try:
            settlement = parse_settlement(key, value)
        except ValueError as error:
            log.warning("a record of audit is passed over", offset=offset, problem=str(error))
            continue
        if settlement is not None:
            settled.add(settlement)
    return settled


async def read_letters(
    client: AIOKafkaClient, where: Where, start: int, end: int
) -> AsyncGenerator[DeadLetterRecord, None]:
    """Yield the dead letters of a partition between two offsets; of their values one fetch is held at a time.

    Raises:
        UnreachableError, KafkaError: they cannot be read.
    """
    try:
        async with aclosing(read_range(client, where, start, end)) as steps:
            async for records in steps:
                for offset, key, value, headers in records:
                    yield DeadLetterRecord(where[1], offset, key, value, _headers(headers))
    except RangeGoneError as error:
        raise UnreachableError(str(error)) from error


def _headers(raw: bytes) -> ReadHeaders:
    try:
        return headers_of(raw)
    except (ValueError, IndexError):  # nobody but a stranger wrote it
        return NO_HEADERS
