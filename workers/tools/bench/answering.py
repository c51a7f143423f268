"""A subscriber that answers by `acks.<name>`, in a process of its own: bare aiokafka, as a service would have it.

    python -m annals.workers.tools.bench.answering
        {"bootstrap_servers": …, "source": …, "target": …, "partitions": n, "total": n, "nack_each": n}

Of the first deliveries it refuses each of so many, and acknowledges the second one. Prints
`{"answers": …, "nacks": …}` once it has acknowledged `total` events.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from annals.schemas.ack import ACK, NACK
from annals.topics.keys import partition_of
from annals.workers.kafka.connections import creating_nothing
from annals.workers.settings import client_options, load_settings

POLL_MS: Final = 1_000
MOST_RECORDS: Final = 2_000
SOON_MS: Final = 100  # when what was refused is to come again
LINGER_MS: Final = 5


async def answer_all(options: dict[str, Any], plan: dict[str, Any]) -> dict[str, int]:
    """Answer until `total` events are acknowledged; return how many answers there were, and refusals among them."""
    partitions = plan["partitions"]
    consumer = creating_nothing(
        AIOKafkaConsumer(
            **options,
            group_id=None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
    )
    producer = creating_nothing(AIOKafkaProducer(**options, linger_ms=LINGER_MS, acks="all"))
    await consumer.start()
    await producer.start()
    try:
        wheres = [TopicPartition(plan["source"], partition) for partition in range(partitions)]
        consumer.assign(wheres)
        await consumer.seek_to_beginning(*wheres)
        acknowledged: set[str] = set()
        firsts = answers = nacks = 0
        while len(acknowledged) < plan["total"]:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST_RECORDS)
            sent = []
            for record in (each for records in fetched.values() for each in records):
                attempt, answer = _answer_of(record)
                firsts += attempt == 1
                if attempt == 1 and firsts % plan["nack_each"] == 0:
                    answer |= {"verdict": NACK, "delay_ms": SOON_MS}
                    nacks += 1
                else:
                    acknowledged.add(answer["cid"])
                where = partition_of(record.key, partitions)
                value = orjson.dumps(answer)
                sent.append(await producer.send(plan["target"], value, key=record.key, partition=where))
            await asyncio.gather(*sent)
            answers += len(sent)
        return {"answers": answers, "nacks": nacks}
    finally:
        await producer.stop()
        await consumer.stop()


def _answer_of(record: Any) -> tuple[int, dict[str, Any]]:
    headers = dict(record.headers)
    attempt = int(headers.get("ce_redelivery", b"1"))
    return attempt, {"cid": headers["ce_id"].decode(), "verdict": ACK, "attempt": attempt}


async def run(plan: dict[str, Any]) -> None:
    """Answer as planned, until done or SIGTERM."""
    options = client_options(load_settings({"bootstrap_servers": plan["bootstrap_servers"]}))
    answering = asyncio.create_task(answer_all(options, plan))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, answering.cancel)
    try:
        print(json.dumps(await answering), flush=True)  # noqa: T201 - this is how it answers
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
