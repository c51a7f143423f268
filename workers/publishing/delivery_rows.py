"""What is not settled with a subscriber, as its topic has it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from annals.schemas.delivery import IN_FLIGHT, PARKED, decode_row
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.ranges import bounds
from annals.workers.publishing.progress_topic import records_until, settled_end

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from annals.schemas.delivery import Row
    from annals.workers.kafka.read.invalid_records import InvalidRecords

    Where = tuple[str, int]


async def read_rows(
    client: AIOKafkaClient, where: Where, *, is_settled: bool = True, invalid: InvalidRecords = PASSED_OVER
) -> dict[bytes, Row]:
    """Return the rows of a partition of `deliveries.<name>` by key, of all kinds.

    is_settled: wait until no transaction that has begun is open; else what is committed before the first of them.
    invalid: takes note of records that are none.
    """
    found: dict[bytes, Row] = {}
    end = await settled_end(client, where) if is_settled else (await bounds(client, [where]))[where][1]
    async for offset, key, value, _ in records_until(client, where, -1, end):
        if value is None:
            found.pop(key or b"", None)
            continue
        try:
            found[key or b""] = decode_row(key, value)
        except ValueError as error:  # whoever wrote it: nothing is known by it
            invalid.note(where, offset, str(error))
    return found


async def count_rows(client: AIOKafkaClient, topic: str, incarnation: int) -> dict[str, int]:
    """Return how many events are not settled in all, in flight and parked; nothing where the topic is not there."""
    counts: Counter[str] = Counter()
    for partition in sorted(client.cluster.partitions_for_topic(topic) or ()):
        rows = (await read_rows(client, (topic, partition), is_settled=False)).values()
        counts.update(row.state for row in rows if row.incarnation == incarnation)
    return {"unsettled": counts.total(), "in_flight": counts[IN_FLIGHT], "parked": counts[PARKED]}
