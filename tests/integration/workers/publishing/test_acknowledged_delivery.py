"""Acknowledged delivery by a worker: answers on the topic and over HTTP, its reading child killed in the middle."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from grouped import Group, GroupWorker, group
from processes import ENTRY_POINT, free_port, own_environment
from renamed_people import PEOPLE, RENAMES, send_renames
from whole_topics import reader_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

WITHIN_S = 300
PARTITIONS = 2


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=PARTITIONS) as made:
        yield made


class Checker:
    """Knows only what came and what was acknowledged, in the order in which it happened."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.acknowledged: set[str] = set()

    def received(self, headers: dict[str, str]) -> None:
        cid, subject, version = headers["ce_id"], headers["ce_subject"], int(headers["ce_sequence"])
        attempt = int(headers.get("ce_redelivery", "1"))
        assert attempt == self.attempts.get(cid, 0) + 1, "each attempt once"
        self.attempts[cid] = attempt
        expected = self.versions.get(subject, 0)
        assert version in (expected, expected + 1), "in order, and none left out"
        if version > expected:
            before = headers.get("ce_previous")
            assert before is None or before in self.acknowledged, "the one before is settled"
            self.versions[subject] = version


async def subscriber(crew: Group, worker: GroupWorker, checker: Checker) -> None:
    """Read and answer badly until all is acknowledged; the reading child is killed in the middle."""
    names, chance = TopicNames(crew.settings.topic_prefix), random.Random(7)
    options = {"bootstrap_servers": crew.settings.bootstrap_servers}
    consumer = reader_of(crew.settings.bootstrap_servers)
    wheres = [TopicPartition(names.subscribers("billing"), partition) for partition in range(PARTITIONS)]
    producer = AIOKafkaProducer(**options)
    has_killed = False
    async with consumer, producer, asyncio.timeout(WITHIN_S):
        consumer.assign(wheres)

        async def answer(record: Any, body: dict[str, Any]) -> None:
            where = partition_of(record.key, PARTITIONS)
            if chance.random() < 0.1:  # of a producer that partitions otherwise
                where = 1 - where
            await producer.send_and_wait(names.acks("billing"), json.dumps(body).encode(), record.key, partition=where)

        while len(checker.acknowledged) < PEOPLE * (RENAMES + 1):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    headers = {name: value.decode() for name, value in record.headers}
                    checker.received(headers)
                    attempt = int(headers.get("ce_redelivery", "1"))
                    body = {"cid": headers["ce_id"], "attempt": attempt, "verdict": "ack"}
                    way = chance.random()
                    if way < 0.05:  # lost
                        continue
                    if way < 0.1:
                        await answer(record, {**body, "verdict": "nack", "reason": "busy"})
                        continue
                    checker.acknowledged.add(headers["ce_id"])
                    await answer(record, body)
                    if way < 0.2:
                        await answer(record, body)
                        await answer(record, {**body, "attempt": max(1, attempt - 1)})
            if not has_killed and len(checker.acknowledged) > PEOPLE:
                has_killed = True
                worker.reader().kill()


def test_nothing_is_forgotten_or_overtaken_whatever_is_answered_and_through_a_kill(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT=str(free_port())).until_ready()
    asked: dict[str, Any] = {
        "kinds": ["person"],
        "start": "beginning",
        "delivery": "acknowledged",
        "retry": {"max_attempts": 50, "first_delay_ms": 20, "max_delay_ms": 200, "ack_timeout_ms": 1_500},
    }
    made = worker.subscribe("billing", **asked)
    assert (made["status"], made["delivery"]) == ("active", "acknowledged")
    prefix = crew.settings.topic_prefix
    assert made["warnings"] == []
    assert made["topics"] == [f"{prefix}{role}.billing" for role in ("subscribers", "acks", "parked", "deliveries")]
    send_renames(crew)
    checker = Checker()
    asyncio.run(subscriber(crew, worker, checker))
    assert set(checker.versions.values()) == {RENAMES + 1}
    worker.until(lambda: worker.health() == [], "it reads again")

    def deliveries() -> dict[str, int]:
        shown: dict[str, int] = worker.asked("GET", "/v1/subscriptions/billing")[1]["deliveries"]
        return shown

    worker.until(lambda: deliveries() == {"unsettled": 0, "in_flight": 0, "parked": 0}, "all is settled")

    shown = subprocess.run(
        [ENTRY_POINT, "subscriptions", "show", "billing"],
        env=own_environment(
            ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers, ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix
        ),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    ).stdout
    assert "deliveries: 0 not settled, 0 of them in flight, 0 parked" in shown

    # Over HTTP: one is parked, with its reason, and others get their errors.
    worker.subscribe("audit", **asked, max_in_flight=1)
    cid = asyncio.run(first_of(crew, "audit"))["ce_id"]
    path = "/v1/subscriptions/audit/acks"
    body = {"cid": cid, "attempt": 1, "verdict": "park", "reason": "poison"}
    assert worker.asked("POST", path, body) == (202, {"accepted": 1})
    parked = asyncio.run(first_of(crew, "audit", "parked"))
    assert (parked["ce_id"], parked["reason"], parked["attempts"]) == (cid, "poison", "1")
    assert worker.asked("POST", path, {**body, "verdict": "maybe"})[0] == 422
    assert worker.asked("POST", "/v1/subscriptions/none/acks", body)[0] == 404
    assert worker.asked("POST", path, {**body, "cid": cid[:-4] + "aaaa"})[0] in (404, 422)
    assert worker.end() == 0


async def first_of(crew: Group, name: str, role: str = "subscribers") -> dict[str, str]:
    """The headers of the first record that comes."""
    topic = f"{crew.settings.topic_prefix}{role}.{name}"
    consumer = reader_of(crew.settings.bootstrap_servers)
    async with consumer, asyncio.timeout(WITHIN_S):
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        record = await consumer.getone()
        return {header: value.decode() for header, value in record.headers}
