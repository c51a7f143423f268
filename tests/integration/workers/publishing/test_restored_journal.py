"""A worker whose journal was restored from a copy of its records goes on publishing behind what was published."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from annals.topics.names import TopicNames
from annals.workers.kafka.admin.provisioning import create
from grouped import Group, group
from made_anew import delete
from whole_topics import records_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

BEFORE = 5
ALL_KINDS: dict[str, Any] = {}
READS = {"ROLES": "write,read", "API_PORT": "0"}


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=1) as made:
        yield made


def restore(crew: Group, topic: str) -> None:
    """Make a journal anew from a copy of its records, in their order: without the markers of transactions."""
    bootstrap = crew.settings.bootstrap_servers
    copied = records_of(bootstrap, topic)
    delete(bootstrap, topic)
    settings = crew.settings.__class__(
        bootstrap_servers=bootstrap, topic_prefix=crew.settings.topic_prefix, partitions=crew.partitions
    )
    asyncio.run(create(settings))
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for record in copied:
        how = {"timestamp": record.timestamp()[1], "headers": record.headers()}
        producer.produce(topic, record.value(), record.key(), record.partition(), **how)
    assert producer.flush(60) == 0
    assert len(copied) == BEFORE
    assert copied[-1].offset() > BEFORE, "there were markers between them"


def test_each_event_is_published_once_and_what_is_unsettled_comes_again(crew: Group) -> None:
    names, bootstrap = TopicNames(crew.settings.topic_prefix), crew.settings.bootstrap_servers

    def received(name: str) -> list[Any]:
        return [dict(record.headers()) for record in records_of(bootstrap, names.subscribers(name))]

    def ids(name: str) -> list[bytes]:
        return [each["ce_id"] for each in received(name)]

    worker = crew.worker("one", ALL_KINDS, **READS).until_ready()
    retry = {"ack_timeout_ms": 3_600_000, "first_delay_ms": 1, "max_delay_ms": 1}
    for name, more in {"all": {}, "kept": {"delivery": "acknowledged", "retry": retry}}.items():
        worker.subscribe(name, start="beginning", **more)
    for _ in range(BEFORE):
        assert crew.answers(1) == ["accepted"]  # one after another, each in a transaction of its own
    worker.until(lambda: len(ids("all")) == len(ids("kept")) == BEFORE, "published")
    assert worker.end() == 0
    before = ids("all")

    restore(crew, names.events("person"))
    worker = crew.worker("one", ALL_KINDS, **READS).until_ready()
    assert crew.answers(1) == ["accepted"]
    worker.until(lambda: len(ids("all")) > BEFORE and len(ids("kept")) > BEFORE, "published what is new")
    assert ids("all")[:BEFORE] == before
    assert len(set(ids("all"))) == len(ids("all")) == BEFORE + 1
    assert ids("kept") == ids("all")

    refused = {"cid": before[0].decode(), "attempt": 1, "verdict": "nack"}
    assert worker.asked("POST", "/v1/subscriptions/kept/acks", {**refused, "kind": "person"})[0] == 202
    worker.until(lambda: len(ids("kept")) == BEFORE + 2, "what was refused comes again")
    assert (ids("kept")[-1], received("kept")[-1]["ce_redelivery"]) == (before[0], b"2")
    assert worker.end() == 0
