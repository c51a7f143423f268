"""Schemas in Kafka: every version of every message is found there, and only what differs is written."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from annals.agents.aggregates import REGISTRY
from annals.topics.schemas import schema_headers, schema_key
from annals.workers.kafka.admin.provisioning import create
from annals.workers.schema_publisher import SchemaPublisher, topic
from annals.workers.schema_publisher.published import published
from annals.workers.settings import Settings, client_options

pytestmark = pytest.mark.broker
ADDED = "annals.person.EmailAdded.v1"


@pytest.fixture
async def settings(bootstrap: str, topic_prefix: str) -> Settings:
    """Settings whose topics exist, with one partition each."""
    made = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=1)
    await create(made)
    return made


def publisher(settings: Settings) -> SchemaPublisher:
    return SchemaPublisher(settings, client_options(settings), REGISTRY)


async def put(settings: Settings, key: str, value: bytes | None, release: str) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        headers = schema_headers("event", release)
        await producer.send_and_wait(f"{settings.topic_prefix}schemas", value, key=key.encode(), headers=headers)


async def kept(settings: Settings) -> dict[str, Any]:
    keys = {schema_key(schema.kind, schema.name, schema.version) for schema in published()}
    found = await topic.read(client_options(settings), f"{settings.topic_prefix}schemas", keys)
    return {key: (json.loads(record.value), record.release) for key, record in found.items() if key in keys}


async def test_every_schema_is_published_once_with_the_release(settings: Settings) -> None:
    first = publisher(settings)
    assert await first.to_topic() == len(list(published()))
    found = await kept(settings)
    assert {schema["$id"] for schema, _ in found.values()} == {schema.urn for schema in published()}
    assert {release for _, release in found.values()} == {"0.1.0"}
    assert first.releases["urn:annals:schema:agent:ModelConfigured:2"] == "0.1.0"
    assert await publisher(settings).to_topic() == 0


async def test_what_is_gone_or_differs_is_written_and_what_a_later_release_wrote_is_left(settings: Settings) -> None:
    await publisher(settings).to_topic()
    later = (await kept(settings))["annals.person.EmailVerified.v1"][0]
    later["properties"]["verified_by"] = {"type": "string"}
    await put(settings, ADDED, b'{"other": 1}', "0.0.9")
    await put(settings, "annals.person.EmailRemoved.v1", None, "0.1.0")
    await put(settings, "annals.person.EmailVerified.v1", json.dumps(later).encode(), "9.0.0")
    await put(settings, "annals.person.PersonRenamed.v1", b'{"later": 1}', "9.0.0")
    await put(settings, "annals.person.PersonTeleported.v3", b"{}", "9.0.0")
    again = publisher(settings)
    assert await again.to_topic() == 3
    found = await kept(settings)
    assert found[ADDED][0]["title"] == "EmailAdded"
    assert found[ADDED][1] == "0.0.9"
    assert found["annals.person.EmailRemoved.v1"][1] == "0.1.0"
    assert found["annals.person.EmailVerified.v1"] == (later, "9.0.0")
    assert (found["annals.person.PersonRenamed.v1"][0]["title"], found["annals.person.PersonRenamed.v1"][1]) == (
        "PersonRenamed",
        metadata.version("annals"),
    )
    assert again.releases["urn:annals:schema:person:PersonTeleported:3"] == "9.0.0"
