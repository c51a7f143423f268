"""Answers that no subscriber should send, on a real broker: each is told of, and the one behind them counts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from annals.topics.catalog import SUBSCRIBER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from grouped import Group, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS, WITHIN_S = 2, 300
LARGEST = SUBSCRIBER_TOPIC_BYTES - 120
HEADERS = [("h", bytes(60_000))]


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=PARTITIONS) as made:
        yield made


async def answered(crew: Group) -> list[dict[str, bytes]]:
    """Answer the first event badly, then well; return the headers of the dead letters, once there are so many."""
    names = TopicNames(crew.settings.topic_prefix)
    options: dict[str, Any] = {"bootstrap_servers": crew.settings.bootstrap_servers}
    reading = {"group_id": None, "isolation_level": "read_committed", "auto_offset_reset": "earliest"}
    producer = AIOKafkaProducer(**options, max_request_size=64 << 20)
    zipping = AIOKafkaProducer(**options, max_request_size=64 << 20, compression_type="gzip")
    consumer = AIOKafkaConsumer(**options, **reading, fetch_max_bytes=64 << 20, max_partition_fetch_bytes=64 << 20)
    async with producer, zipping, consumer, asyncio.timeout(WITHIN_S):
        consumer.assign([TopicPartition(names.subscribers("billing"), each) for each in range(PARTITIONS)])
        record = await consumer.getone()
        cid = dict(record.headers)["ce_id"].decode()
        topic, key, here = names.acks("billing"), record.key, partition_of(record.key, PARTITIONS)
        for value, partition in (
            (b"[" * LARGEST, here),
            (b"{}".ljust(LARGEST), 1 - here),
            (b'{"a":' * 100_000, here),
        ):
            await producer.send_and_wait(topic, value, key, partition)
        await zipping.send_and_wait(topic, bytes(20 << 20), key, here)
        await producer.send_and_wait(topic, b"{}", key, here, headers=HEADERS)
        for answer in ({"cid": cid, "attempt": 7, "verdict": "park"}, {"cid": cid, "verdict": "ack"}):
            # As a producer whose partitioner is another one: it is moved.
            await producer.send_and_wait(topic, json.dumps(answer).encode(), key, 1 - here, headers=HEADERS)
        consumer.assign([TopicPartition(names.dead_letters, 0)])
        return [dict((await consumer.getone()).headers) for _ in range(5)]


def test_answers_of_strangers_are_told_of_and_hold_nobody_up(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    worker.subscribe("billing", kinds=["person"], delivery="acknowledged", retry={"ack_timeout_ms": 600_000})
    assert crew.answers(1) == ["accepted"]
    letters = asyncio.run(answered(crew))
    assert [each["reason"] for each in letters] == [b"bad_ack"] * 5
    assert sum(b"cut" in each["message"] for each in letters) == 3
    assert sum(each.get("h") == HEADERS[0][1] for each in letters) == 1

    def is_settled() -> bool:
        status, shown = worker.call("GET", "/v1/subscriptions/billing")
        return status == 200 and shown["deliveries"] == {"unsettled": 0, "in_flight": 0, "parked": 0}

    worker.until(is_settled, "the last answer counts")
    assert worker.end() == 0
