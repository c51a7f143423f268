"""`subscriptions` and `reactions`, deleted and made anew under a worker, are named, however long they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from annals.topics.names import TopicNames
from grouped import Group, group
from made_anew import delete, make
from whole_topics import records_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

ALL_KINDS: dict[str, Any] = {}


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=1) as made:
        yield made


def test_what_was_known_holds_and_both_topics_are_named(crew: Group) -> None:
    worker = crew.worker("one", ALL_KINDS, ROLES="write,read", API_PORT="0").until_ready()
    names, bootstrap = TopicNames(crew.settings.topic_prefix), crew.settings.bootstrap_servers

    def received(count: int) -> bool:
        return len(records_of(bootstrap, names.subscribers("kept"))) == count

    worker.subscribe("kept", start="beginning")
    assert worker.asked("POST", "/v1/reactions/assign-tasks/resume")[0] == 200
    crew.answers(1)
    worker.until(lambda: received(1), "it publishes")

    producer = Producer({"bootstrap.servers": bootstrap})
    for topic in (names.subscriptions, names.reactions):
        former = records_of(bootstrap, topic)
        delete(bootstrap, topic)
        make(bootstrap, topic)
        for number in range(20):  # longer than before, with all that was known at the end
            producer.produce(topic, b"{}", str(number).encode())
        for record in former:
            producer.produce(topic, record.value(), record.key())
    assert producer.flush(60) == 0

    for topic in (names.subscriptions, names.reactions):
        assert "What was known before holds yet" in worker.until_told(f"{topic} was deleted and made anew")
    crew.answers(1)
    worker.until(lambda: received(2), "it publishes what comes")
    assert worker.end() == 0
