"""Bare aiokafka: consumes, writes one event per command by batches, sends the offsets and commits. It decides nothing.

    python -m annals.workers.tools.bench.baselines.bare
        {"bootstrap_servers": …, "source": …, "target": …, "group": …, "total": n, "copies": false}

With `copies` a command's bytes are written as they are; else it is read, and its event written, both as JSON. Prints
`{"count": …, "seconds": …, "cpu_s": …}` when it has done `total` records; 0: it never ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from annals.workers.kafka.connections import creating_nothing
from annals.workers.settings import client_options, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH_BYTES: Final = 1 << 20
MOST_RECORDS: Final = 12_000  # of one transaction: the worker's 3,000 for each of 4 partitions


async def pass_on(options: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Go on until `total` records are done; return how many, and what they took after the first transaction."""
    group, total = plan["group"], plan["total"]
    value_of = _copy if plan["copies"] else _event
    consumer = creating_nothing(
        AIOKafkaConsumer(
            plan["source"],
            **options,
            group_id=group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            retry_backoff_ms=10,
        )
    )
    producer = creating_nothing(
        AIOKafkaProducer(
            **options, transactional_id=f"{group}-bare", max_batch_size=BATCH_BYTES, linger_ms=0, retry_backoff_ms=10
        )
    )
    await consumer.start()
    await producer.start()
    try:
        count, first, began, cpu = 0, 0, 0.0, 0.0
        while not total or count < total:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=MOST_RECORDS)
            if fetched:
                count += await _transact(producer, fetched, plan["target"], group, value_of)
            if not first:
                first, began, cpu = count, perf_counter(), process_time()
        return {"count": count - first, "seconds": perf_counter() - began, "cpu_s": process_time() - cpu}
    finally:
        await producer.stop()
        await consumer.stop()


async def _transact(
    producer: Any, fetched: dict[Any, list[Any]], target: str, group: str, value_of: Callable[[bytes], bytes]
) -> int:
    async with producer.transaction():
        sent = []
        for partition, records in fetched.items():
            batch = producer.create_batch()
            for each in records:
                value = value_of(each.value)
                if batch.append(key=each.key, value=value, timestamp=each.timestamp) is None:
                    sent.append(await producer.send_batch(batch, target, partition=partition.partition))
                    batch = producer.create_batch()
                    batch.append(key=each.key, value=value, timestamp=each.timestamp)
            sent.append(await producer.send_batch(batch, target, partition=partition.partition))
        offsets = {partition: records[-1].offset + 1 for partition, records in fetched.items()}
        await producer.send_offsets_to_transaction(offsets, group)
        await asyncio.gather(*sent)
    return sum(map(len, fetched.values()))


def _copy(command: bytes) -> bytes:
    return command


def _event(command: bytes) -> bytes:
    said = orjson.loads(command)
    return orjson.dumps(
        {
            "kind": "person",
            "aggregate_id": said["aggregate_id"],
            "type": said["type"],
            "command_id": said["id"],
            "actor": said.get("actor"),
            "data": said["data"],
        }
    )


async def run(plan: dict[str, Any]) -> None:
    """Go on as planned, until done or SIGTERM."""
    options = client_options(load_settings({"bootstrap_servers": plan["bootstrap_servers"]}))
    passing = asyncio.create_task(pass_on(options, plan))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, passing.cancel)
    try:
        print(json.dumps(await passing), flush=True)  # noqa: T201 - this is how it answers
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
