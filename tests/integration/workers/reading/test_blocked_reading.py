"""A transaction that stays open on what is read is named by the readiness of `read`, and counted, until it ends.

On journals and outcomes those who write them name it, too: whoever awaits an answer would wait, and nobody would fail.

A transaction that is hung, of which a partition never got the marker, is the same to whoever reads.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from annals.topics.names import TopicNames
from grouped import ONE_KIND, Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

LONGEST_MS = 900_000  # that brokers allow
SOON: dict[str, Any] = {
    **ONE_KIND,
    "annals.workers.kafka.read.blocked:PATIENCE_S": 1.0,
    "annals.workers.reading.blocked:INTERVAL_S": 0.5,
}


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=1) as made:
        yield made


@contextmanager
def open_transaction(bootstrap: str, topics: Iterable[str]) -> Iterator[None]:
    """A transaction with a record in partition 0 of each topic, which is taken back at the end."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"nobody of {bootstrap}",
            "transaction.timeout.ms": LONGEST_MS,
        }
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    try:
        for topic in topics:
            producer.produce(topic, b"no record", b"nobody", 0)
        assert producer.flush(60) == 0
        yield
    finally:
        producer.abort_transaction(60)


def blocked(worker: GroupWorker, role: str = "read") -> set[str]:
    """The topics of which readiness says that a transaction is open."""
    told = worker.health() or []
    return {
        reason.removeprefix(f"{role}: ").split("-0 ends at offset ")[0]
        for reason in told
        if "a transaction is open there" in reason and "only, since 20" in reason and "find-hanging" in reason
    }


def counted(worker: GroupWorker, prefix: str) -> set[str]:
    """The topics of which the metric has a series."""
    lines = [line for line in worker.metrics().splitlines() if line.startswith("annals_reading_blocked_seconds{")]
    return {line.split('topic="')[1].split('"')[0] for line in lines if f'topic="{prefix}' in line}


def test_a_transaction_that_stays_open_on_what_is_read_is_named_until_it_ends(crew: Group) -> None:
    worker = crew.worker("one", SOON, ROLES="read", API_PORT="0").until_ready()
    worker.subscribe("bills", delivery="acknowledged")
    prefix = crew.settings.topic_prefix
    names = TopicNames(prefix)
    topics = {
        names.events("person"),
        names.outcomes("person"),
        names.restore("person"),
        names.progress,
        names.subscriptions,
        names.reactions,
        names.projections,
        names.jobs,
        names.audit,
        names.dead_letters,
        names.subscribers("bills"),
        names.acks("bills"),
        names.parked("bills"),
        names.deliveries("bills"),
    }
    with open_transaction(crew.settings.bootstrap_servers, [*topics, names.commands("person")]):
        worker.until(lambda: blocked(worker) == topics, "readiness names each")
        worker.until(lambda: counted(worker, prefix) == topics, "so does the metric")
    worker.until(lambda: worker.health() == [], "ready again")
    worker.until(lambda: counted(worker, prefix) == set(), "nor is one in the metric")
    assert worker.end() == 0


def test_whoever_writes_what_a_transaction_holds_up_says_so_until_it_ends(crew: Group) -> None:
    worker = crew.worker("one", SOON, ROLES="write").until_ready()
    names = TopicNames(crew.settings.topic_prefix)
    topics = {names.events("person"), names.outcomes("person")}
    with open_transaction(crew.settings.bootstrap_servers, [*topics, names.commands("person")]):
        worker.until(lambda: blocked(worker, "write") == topics, "readiness names each")
    worker.until(lambda: worker.health() == [], "ready again")
    assert worker.end() == 0
