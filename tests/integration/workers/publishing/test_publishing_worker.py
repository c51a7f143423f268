"""A worker that publishes: a subscription put over HTTP, while its reading child is killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition

from annals.topics.names import TopicNames
from grouped import Group, group
from processes import ENTRY_POINT, own_environment
from whole_topics import reader_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

WITHIN_S = 300


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=1) as made:
        yield made


def send(crew: Group, *versions: int) -> None:
    """Have `annals send` add an event to one person for each of these versions."""
    commands = [
        {"kind": "person", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada Lovelace"}}
        if version == 1
        else {"kind": "person", "type": "RenamePerson", "aggregate_id": "p-1", "data": {"name": f"Ada {version}"}}
        for version in versions
    ]
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers, ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix
    )
    said = "".join(json.dumps(command) + "\n" for command in commands)
    sent = subprocess.run(
        [ENTRY_POINT, "send"], input=said, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr


async def received(crew: Group, name: str, count: int) -> list[dict[str, str]]:
    """The headers of what a subscriber has, once so many events have come; some may have come again."""
    consumer = reader_of(crew.settings.bootstrap_servers)
    where = TopicPartition(TopicNames(crew.settings.topic_prefix).subscribers(name), 0)
    found: list[dict[str, str]] = []
    async with consumer, asyncio.timeout(WITHIN_S):
        consumer.assign([where])
        while sum("ce_redelivery" not in each for each in found) < count:
            records = (await consumer.getmany(where, timeout_ms=200)).get(where, ())
            found += [{key: value.decode() for key, value in record.headers} for record in records]
    return found


def test_what_is_subscribed_over_http_comes_once_and_in_order_through_a_kill(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    assert "annals_publisher_up" not in "".join(
        line for line in worker.metrics().splitlines() if not line.startswith("#")
    )
    send(crew, 1, 2, 3)
    assert worker.subscribe("all", start="beginning")["status"] == "active"
    assert len(asyncio.run(received(crew, "all", 3))) == 3

    worker.kill_reader()
    send(crew, 4, 5, 6)
    worker.until(lambda: worker.health() == [], "it reads again")
    send(crew, 7, 8)
    found = asyncio.run(received(crew, "all", 8))

    ids = [each["ce_id"] for each in found]
    assert len(set(ids)) == len(ids) == 8
    assert [each.get("ce_previous") for each in found] == [None, *ids[:-1]]
    assert worker.end() == 0


def test_what_is_recorded_after_a_change_was_answered_is_judged_by_it(crew: Group) -> None:
    """Goes red when publishers learn of a change later than of the events behind it."""
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    filters = [[{"cel": f"data.name.startsWith('{letter}')"}] for letter in "AB"]
    for kind in ("stream", "acknowledged"):
        worker.subscribe(kind, delivery=kind, ordered=False, filters=filters[0])
    wanted = []
    for number in range(8):
        name = f"{'AB'[number % 2]} {number}"
        for kind in ("stream", "acknowledged"):
            body = {"delivery": kind, "ordered": False, "filters": filters[number % 2]}
            assert worker.asked("PUT", f"/v1/subscriptions/{kind}", body, **{"if-match": "*"})[0] == 200
        type_name = "RenamePerson" if number else "RegisterPerson"
        command = {"kind": "person", "id": name, "type": type_name, "aggregate_id": "p-1", "data": {"name": name}}
        status, outcome = worker.asked("POST", "/v1/commands?wait=30", command)
        assert (status, outcome["status"]) in {(200, "accepted"), (200, "duplicate")}  # of one that is asked again
        wanted += [event["cid"] for event in outcome["events"]]
    for kind in ("stream", "acknowledged"):
        found = asyncio.run(received(crew, kind, len(wanted)))
        assert [each["ce_id"] for each in found if "ce_redelivery" not in each] == wanted
    assert worker.end() == 0
