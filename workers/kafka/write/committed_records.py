"""The committed records of one partition, read by a consumer of its own up to an end that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from annals.agents.ports import StoppedError, UnreachableError
from annals.workers.kafka.connections import stop_consumer
from annals.workers.kafka.group.header_names import of_whole_topic, reading_consumer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


READ_RECORDS: Final = 4_000  # taken from a fetch at once; whoever folds them does it in turns
READ_TIMEOUT_MS: Final = 1_000
FETCH_BYTES: Final = 4 << 20


async def read_partition(
    options: Mapping[str, Any], where: TopicPartition, start: int, end: int
) -> AsyncIterator[list[Any]]:
    """Yield the committed records of a partition from `start` until the consumer's *position* has reached `end`.

    Transaction markers take offsets, so that the last record is never at `end - 1`; the position passes them.

    Raises:
        StoppedError: `start` is no longer, or not yet, in the partition.
        UnreachableError: `end` is not in the partition any more.
    """
    if start >= end:
        return
    partition = TopicPartition(*where)
    consumer = reading_consumer(
        **options,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        value_deserializer=of_whole_topic,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=FETCH_BYTES,
    )
    try:
        await consumer.start()
        consumer.assign([partition])
        consumer.seek(partition, start)  # an explicit offset: a reset in the background cannot win over it
        while (position := await consumer.position(partition)) < end:
            try:
                fetched = await consumer.getmany(partition, timeout_ms=READ_TIMEOUT_MS, max_records=READ_RECORDS)
            except OffsetOutOfRangeError as error:
                raise StoppedError(
                    f"{where.topic}-{where.partition} has no offset {position}: it was cut or made anew. Restore the "
                    f"topic, or, if it is another one on purpose, start with an empty data directory."
                ) from error
            if records := fetched.get(partition):
                yield [record for record in records if record.offset < end]
            elif (there := (await consumer.end_offsets([partition]))[partition]) < end:
                # Nothing will come: an unclean election took it since the end was asked for. Opening decides.
                raise UnreachableError(
                    f"{where.topic}-{where.partition} ends at {there} and reached {end} a moment ago"
                )
    finally:
        await stop_consumer(consumer)
