"""Bare aiokafka: consumes, writes one record per record by batches, sends the offsets and commits. It decides nothing.

    python -m workers.bench.baselines.bare {"bootstrap_servers": …, "source": …, "target": …, "group": …, "total": n}

Prints `{"count": …, "seconds": …, "cpu_s": …}` when it has done `total` records; 0: it never ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from time import perf_counter, process_time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from workers.settings import client_options, load_settings

BATCH_BYTES: Final = 1 << 20
MOST_RECORDS: Final = 12_000  # of one transaction: the worker's 3,000 for each of 4 partitions


async def copy(options: dict[str, Any], source: str, target: str, group: str, total: int) -> dict[str, Any]:
    """Copy until `total` records are done; return how many, and what they took after the first transaction."""
    consumer = AIOKafkaConsumer(
        source,
        **options,
        group_id=group,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        retry_backoff_ms=10,
    )
    producer = AIOKafkaProducer(
        **options, transactional_id=f"{group}-bare", max_batch_size=BATCH_BYTES, linger_ms=0, retry_backoff_ms=10
    )
    await consumer.start()
    await producer.start()
    try:
        count, first, began, cpu = 0, 0, 0.0, 0.0
        while not total or count < total:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=MOST_RECORDS)
            if fetched:
                count += await _transact(producer, fetched, target, group)
            if not first:
                first, began, cpu = count, perf_counter(), process_time()
        return {"count": count - first, "seconds": perf_counter() - began, "cpu_s": process_time() - cpu}
    finally:
        await producer.stop()
        await consumer.stop()


async def _transact(producer: Any, fetched: dict[Any, list[Any]], target: str, group: str) -> int:
    async with producer.transaction():
        sent = []
        for partition, records in fetched.items():
            batch = producer.create_batch()
            for each in records:
                if batch.append(key=each.key, value=each.value, timestamp=each.timestamp) is None:
                    sent.append(await producer.send_batch(batch, target, partition=partition.partition))
                    batch = producer.create_batch()
                    batch.append(key=each.key, value=each.value, timestamp=each.timestamp)
            sent.append(await producer.send_batch(batch, target, partition=partition.partition))
        offsets = {partition: records[-1].offset + 1 for partition, records in fetched.items()}
        await producer.send_offsets_to_transaction(offsets, group)
        await asyncio.gather(*sent)
    return sum(map(len, fetched.values()))


async def run(plan: dict[str, Any]) -> None:
    """Copy as planned, until done or SIGTERM."""
    options = client_options(load_settings({"bootstrap_servers": plan["bootstrap_servers"]}))
    copying = asyncio.create_task(copy(options, plan["source"], plan["target"], plan["group"], plan["total"]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, copying.cancel)
    try:
        print(json.dumps(await copying), flush=True)  # noqa: T201 - this is how it answers
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
