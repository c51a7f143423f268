"""Where a subscription begins that names a time or offsets: before the beginning, behind the end, and between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from annals.agents.publishing.administration import Refused
from annals.schemas.subscription import Definition, parse
from annals.schemas.values.moments import moment_of
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect
from annals.workers.publishing.places import Places
from chained import RECORDED_AT, chain, make_topics

if TYPE_CHECKING:
    from annals.schemas.subscription import Positions

pytestmark = pytest.mark.broker

EVENTS = 3
BEGINS = [
    ("beginning", [0, 0]),
    ("now", [EVENTS, 0]),
    ({"time": "0001-01-01T00:00:00Z"}, [0, 0]),
    ({"time": "1969-12-31T23:59:59Z"}, [0, 0]),
    ({"time": RECORDED_AT}, [0, 0]),
    ({"time": "2026-11-21T10:30:00.123456+01:00"}, [0, 0]),
    ({"time": "2026-11-21T09:30:00.1234561Z"}, [EVENTS, 0]),  # the same millisecond, which is all that Kafka knows
    ({"time": "2026-11-21T09:30:00.123457Z"}, [EVENTS, 0]),
    ({"time": "9999-12-31T23:59:59.999999999Z"}, [EVENTS, 0]),
    ({"positions": {"person": [0, 0]}}, [0, 0]),
    ({"positions": {"person": [EVENTS, 0]}}, [EVENTS, 0]),
]
NOWHERE: list[list[int]] = [[EVENTS + 1, 0], [EVENTS, 1], [EVENTS], [EVENTS, 0, 0], [(1 << 63) - 1, 0]]


async def begun(bootstrap: str, prefix: str) -> list[Positions | Refused]:
    topic = TopicNames(prefix).events("person")
    await make_topics(bootstrap, [topic], 2)
    at = int(moment_of(RECORDED_AT).timestamp() * 1_000)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for event in chain("p-1", EVENTS):
            await producer.send_and_wait(topic, event.value, event.key, 0, at)
    client = await connect({"bootstrap_servers": bootstrap}, [])
    try:
        asked = [start for start, _ in BEGINS] + [{"positions": {"person": offsets}} for offsets in NOWHERE]
        return [await _begin(Places(client, TopicNames(prefix)), start) for start in asked]
    finally:
        await client.close()


async def _begin(places: Places, start: Any) -> Positions | Refused:
    definition = parse({"name": "all", "kinds": ["person"], "start": start})
    assert isinstance(definition, Definition), definition
    try:
        return await places.begin(definition, ["person"])
    except Refused as refused:
        return refused


def test_a_start_is_where_it_says_or_is_refused(bootstrap: str, topic_prefix: str) -> None:
    found = asyncio.run(begun(bootstrap, topic_prefix))
    assert found[: len(BEGINS)] == [{"person": begin} for _, begin in BEGINS]
    for each in found[len(BEGINS) :]:
        assert isinstance(each, Refused)
        assert (each.status, each.errors[0][0]) == (422, "start.positions.person")
