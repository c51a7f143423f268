"""On brokers that make every topic that somebody asks for (Kafka's default) nobody here has one made by asking."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from annals.workers.client import CommandClient
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.tools.broker import Broker
from grouped import Group, group
from processes import annals, own_environment
from whole_topics import delete

pytestmark = pytest.mark.broker

OBLIGING = {"auto.create.topics.enable": "true"}
COMMAND = {"kind": "person", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}


@pytest.fixture(scope="module")
def obliging(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None, shared_classes: None) -> Iterator[str]:
    with Broker(tmp_path_factory.mktemp("obliging"), cache_dir=cache_dir, properties=OBLIGING) as broker:
        yield broker.bootstrap


@pytest.fixture
def crew(obliging: str, tmp_path: Path) -> Iterator[Group]:
    with group(obliging, f"t{secrets.token_hex(4)}.", tmp_path, 2) as made:
        yield made


def topics(crew: Group) -> set[str]:
    """The topics of the prefix that are there; whoever asks for all of them has none made."""

    async def ask() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=crew.settings.bootstrap_servers)
        await admin.start()
        try:
            return list(await admin.list_topics())
        finally:
            await admin.close()

    return {name for name in asyncio.run(ask()) if name.startswith(crew.settings.topic_prefix)}


def environment(crew: Group, **more: str) -> dict[str, str]:
    return own_environment(
        ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers,
        ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix,
        ANNALS_PARTITIONS="1",
        **more,
    )


def created(crew: Group) -> set[str]:
    made = annals("topics", "create", environment=environment(crew))
    assert made.returncode == 0, made.stderr
    return topics(crew)


def test_topics_that_are_deleted_under_a_worker_stay_deleted_and_are_named(crew: Group) -> None:
    """All but `progress`: nobody needs it as long as there is no subscription."""
    there = created(crew)
    worker = crew.worker("one", {}, CREATE_TOPICS="0", ROLES="write,read", API_PORT="0").until_ready()
    prefix = crew.settings.topic_prefix
    named = [f"{prefix}{name}" for name in ("subscriptions", "outcomes.person", "commands.person", "events.person")]
    gone = {*named, f"{prefix}progress"}
    for name in gone:
        asyncio.run(delete(crew.settings.bootstrap_servers, name))
    for name in named:
        worker.until_told(name)
        assert topics(crew) == there - gone
    worker.until_told("read: the topics")
    assert worker.end() == 0
    assert topics(crew) == there - gone


def test_a_worker_without_topics_is_refused_by_name_and_none_is_made(crew: Group) -> None:
    worker = crew.worker("one", {}, CREATE_TOPICS="0", ROLES="write,read", API_PORT="0")
    assert worker.until_over() == 2
    assert f"{crew.settings.topic_prefix}commands.person" in worker.log.read_text()
    assert topics(crew) == set()


@pytest.mark.parametrize(
    "words",
    [
        "send",
        "events person p-1",
        "state person p-1",
        "verify person",
        "verify person p-1",
        "subscribe nobody",
        "subscriptions list",
        "replay --topic replays.audit --kind person",
        "dead-letters list",
        "snapshots count",
        "projections query people",
        "schemas usage",
        "schemas migrate",
        "topics check",
    ],
)
def test_commands_about_missing_topics_make_none(crew: Group, words: str) -> None:
    done = annals(*words.split(), environment=environment(crew), said=json.dumps(COMMAND))
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert topics(crew) == set()


async def test_a_client_of_missing_topics_makes_none(crew: Group) -> None:
    with pytest.raises(MissingTopicError, match=r"commands\.person"):
        async with CommandClient(crew.settings, timeout_s=10) as client:
            await client.send("person", COMMAND)
    assert await asyncio.to_thread(topics, crew) == set()
