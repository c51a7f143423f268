"""Parked events on a real broker: a poisoned one is parked, the others go on; replayed once, discarded, in order."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.publishing import parked_list
from annals.workers.publishing.parked import ParkedService
from annals.workers.registry import deciders
from grouped import Group, group

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS, PEOPLE, WITHIN_S = 2, 60, 300
PATH = "/v1/subscriptions/billing/parked"


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=PARTITIONS) as made:
        yield made


def end(process: subprocess.Popen[str], given: str = "") -> tuple[int, str]:
    out, problems = process.communicate(given, timeout=600)
    assert process.returncode in {0, 1}, problems
    return process.returncode, out


def send(crew: Group) -> None:
    """Register everybody, and rename everybody: the renaming waits behind what is parked."""
    commands = [
        {"kind": "person", "type": kind, "aggregate_id": f"p-{person}", "data": {"name": f"Ada {number}"}}
        for number, kind in enumerate(("RegisterPerson", "RenamePerson"))
        for person in range(PEOPLE)
    ]
    status, out = end(crew.annals("send"), "".join(json.dumps(command) + "\n" for command in commands))
    assert status == 0, out


class Subscriber:
    """Takes what comes, and answers `park` to whom it cannot take."""

    def __init__(self, crew: Group) -> None:
        self.names = TopicNames(crew.settings.topic_prefix)
        self.options = {"bootstrap_servers": crew.settings.bootstrap_servers}
        self.seen: dict[str, list[tuple[int, int]]] = defaultdict(list)  # version and attempt, by aggregate
        self.positions: dict[TopicPartition, int] = {}

    async def run(self, cannot: Callable[[str, int], bool], is_over: Callable[[], bool]) -> None:
        consumer = AIOKafkaConsumer(
            **self.options, group_id=None, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        wheres = [TopicPartition(self.names.subscribers("billing"), partition) for partition in range(PARTITIONS)]
        async with consumer, AIOKafkaProducer(**self.options) as producer, asyncio.timeout(WITHIN_S):
            consumer.assign(wheres)
            for where, position in self.positions.items():
                consumer.seek(where, position)
            while not is_over():
                for where, records in (await consumer.getmany(timeout_ms=100)).items():
                    for record in records:
                        headers = {name: value.decode() for name, value in record.headers}
                        subject, version = headers["ce_subject"], int(headers["ce_sequence"])
                        attempt = int(headers.get("ce_redelivery", "1"))
                        self.seen[subject].append((version, attempt))
                        verdict = "park" if cannot(subject, version) else "ack"
                        body = {"cid": headers["ce_id"], "attempt": attempt, "verdict": verdict, "reason": "poison"}
                        topic, at = self.names.acks("billing"), partition_of(record.key, PARTITIONS)
                        await producer.send_and_wait(topic, json.dumps(body).encode(), record.key, partition=at)
                        self.positions[where] = record.offset + 1

    def has(self, *deliveries: tuple[int, int]) -> Callable[[], bool]:
        """Whether the poisoned have had just these, and all others their two."""

        def is_so() -> bool:
            return all(
                len(self.seen[f"p-{person}"]) >= (len(deliveries) if person % 2 == 0 else 2) for person in range(PEOPLE)
            )

        return is_so


def parked(crew: Group, *filters: str) -> list[dict[str, Any]]:
    """All that is parked, page by page."""
    found: list[dict[str, Any]] = []
    cursor = "0-0-0"
    while cursor:
        page_of = ("--limit", "20", "--cursor", cursor, "--json")
        status, out = end(crew.annals("parked", "list", "billing", *page_of, *filters))
        page = json.loads(out)
        assert status == 0
        assert len(page["parked"]) <= 20
        found += page["parked"]
        cursor = page["next"]
    return found


def test_what_is_parked_is_replayed_once_and_the_others_go_on(crew: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    worker.subscribe("billing", kinds=["person"], delivery="acknowledged")
    assert worker.asked("GET", PATH) == (200, {"parked": [], "next": None})
    assert worker.asked("GET", "/v1/subscriptions/none/parked")[0] == 404
    send(crew)

    subscriber = Subscriber(crew)
    even = lambda subject, version: int(subject[2:]) % 2 == 0 and version == 1  # noqa: E731
    asyncio.run(subscriber.run(even, subscriber.has((1, 1))))
    half = PEOPLE // 2
    counts = lambda: worker.asked("GET", "/v1/subscriptions/billing")[1]["deliveries"]  # noqa: E731
    worker.until(lambda: counts() == {"unsettled": half, "in_flight": 0, "parked": half}, "the poisoned are parked")

    rows = parked(crew)
    assert {row["aggregate_id"] for row in rows} == {f"p-{person}" for person in range(0, PEOPLE, 2)}
    assert len(rows) == half
    first = rows[0]
    assert (first["kind"], first["version"], first["type"], first["attempts"]) == ("person", 1, "PersonRegistered", 1)
    assert first["reason"] == "poison"
    status, page = worker.asked("GET", f"{PATH}?limit=2")
    assert (status, page["parked"]) == (200, rows[:2])
    assert worker.asked("GET", page["next"])[1]["parked"] == rows[2:4]
    assert worker.asked("GET", f"{PATH}/{first['cid']}") == (200, first)
    assert parked(crew, "--aggregate", f"person/{first['aggregate_id']}") == [first]
    assert parked(crew, "--type", "PersonRenamed") == []
    shown = json.loads(end(crew.annals("parked", "show", "billing", first["cid"], "--json"))[1])
    assert json.loads(shown["value"])["name"] == "Ada 0"
    assert len(end(crew.annals("parked", "export", "billing"))[1].splitlines()) == half
    for body in ({}, {"all": True, "cids": [first["cid"]]}, {"cids": ["nothing"]}, {"all": True, "stop_at": -1}):
        assert worker.asked("POST", f"{PATH}/replay", body)[0] == 400
    assert worker.asked("POST", f"{PATH}/discard", {"all": True})[0] == 400
    stopped = {"all": True, "stop_at": 0}
    assert worker.asked("POST", f"{PATH}/replay", stopped) == (202, {"accepted": 0})

    # Two are given up, and what waited behind them goes; the others are replayed by two administrators at once.
    given_up = [row["cid"] for row in rows[:2]]
    discarding = {"cids": given_up, "reason": "sent twice by mistake"}
    assert worker.asked("POST", f"{PATH}/discard", discarding)[0] == 202  # accepted: 2, or 0 where it was asked again
    assert worker.asked("POST", f"{PATH}/discard", discarding) == (202, {"accepted": 0})
    both = [crew.annals("parked", "replay", "billing", "--all", "--json") for _ in range(2)]
    assert sum(json.loads(end(each)[1])["accepted"] for each in both) == half - 2
    replayed = {row["aggregate_id"] for row in rows[2:]}
    asyncio.run(
        subscriber.run(
            lambda *_: False,
            lambda: (
                all(len(subscriber.seen[subject]) == 3 for subject in replayed)
                and all(len(subscriber.seen[row["aggregate_id"]]) == 2 for row in rows[:2])
            ),
        )
    )
    worker.until(lambda: counts() == {"unsettled": 0, "in_flight": 0, "parked": 0}, "all is settled")

    for person in range(PEOPLE):
        subject = f"p-{person}"
        expected = [(1, 1), (1, 2), (2, 1)] if subject in replayed else [(1, 1), (2, 1)]
        assert subscriber.seen[subject] == expected
    assert parked(crew) == []
    # Of what was decided long ago nothing is read.
    monkeypatch.setattr(parked_list, "records_until", None)
    options = {"bootstrap_servers": crew.settings.bootstrap_servers}
    asked_here = ParkedService(crew.settings, options, deciders()).page("billing", Choice(), FIRST, 20)
    assert asyncio.run(asked_here) == ([], None)
    assert end(crew.annals("parked", "replay", "billing", "--all"))[0] == 1
    assert worker.end() == 0
