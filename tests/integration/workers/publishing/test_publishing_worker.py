"""A worker that publishes: a subscription put over HTTP, while its reading child is killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiokafka import TopicPartition

from annals.topics.names import TopicNames
from grouped import Group, GroupWorker, group
from processes import ENTRY_POINT, own_environment
from whole_topics import reader_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

WITHIN_S = 60


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=1) as made:
        yield made


def put(worker: GroupWorker, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Put a subscription over HTTP."""
    url = f"{worker.logged('worker started')[0]['api']}/v1/subscriptions/{name}"
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, json.loads(answer.read())


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
        [ENTRY_POINT, "send"], input=said, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr


async def received(crew: Group, name: str, count: int) -> list[dict[str, str]]:
    """The headers of what a subscriber has, to the end of its topic, once it has so many."""
    consumer = reader_of(crew.settings.bootstrap_servers)
    where = TopicPartition(TopicNames(crew.settings.topic_prefix).subscribers(name), 0)
    found: list[dict[str, str]] = []
    async with consumer, asyncio.timeout(WITHIN_S):
        consumer.assign([where])
        while len(found) < count:
            records = (await consumer.getmany(where, timeout_ms=200)).get(where, ())
            found += [{key: value.decode() for key, value in record.headers} for record in records]
    return found


def test_what_is_subscribed_over_http_comes_once_and_in_order_through_a_kill(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    assert "annals_publisher_up" not in "".join(
        line for line in worker.metrics().splitlines() if not line.startswith("#")
    )
    send(crew, 1, 2, 3)
    status, made = put(worker, "all", {"name": "all", "start": "beginning"})
    assert (status, made["status"]) == (201, "active")
    assert len(asyncio.run(received(crew, "all", 3))) == 3

    (child,) = psutil.Process(worker.process.pid).children()
    child.kill()
    send(crew, 4, 5, 6)
    worker.until(lambda: worker.health() == [], "it reads again")
    send(crew, 7, 8)
    found = asyncio.run(received(crew, "all", 8))

    ids = [each["ce_id"] for each in found]
    assert len(set(ids)) == len(ids) == 8
    assert [each.get("ce_previous") for each in found] == [None, *ids[:-1]]
    assert worker.end() == 0
