"""The subscribers in Python, JavaScript and Java: what came once and in order, what came twice, and what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from annals.schemas.cid import cid_text
from annals.topics.keys import partition_of
from chained import chain, make_topics
from languages import ROOT, compile_java, java, node
from whole_topics import until_settled

if TYPE_CHECKING:
    from pathlib import Path

    from chained import Sealed

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_java(folder)
    return folder


@pytest.fixture(params=["python", "javascript", "java"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def subscriber(
    language: str, name: str, environment: dict[str, str], classes: Path
) -> subprocess.CompletedProcess[str]:
    if language == "javascript":
        return node("subscriber.js", name, env=environment)
    if language == "java":
        return java("annals.Subscriber", name, classes=classes, env=environment)
    words = [
        f"{environment['ANNALS_TOPIC_PREFIX']}subscribers.{name}",
        "--servers",
        environment["ANNALS_BOOTSTRAP_SERVERS"],
    ]
    program = [sys.executable, "-W", "error", str(ROOT / "examples/subscriber.py"), *words]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=600, check=False)


def publish(bootstrap: str, topic: str, events: list[Sealed], before: dict[bytes, Sealed]) -> None:
    """As a publisher does: in transactions, one of which is taken back before it is made again."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "linger.ms": 0})
    producer.init_transactions(60)
    for is_committed in (False, True):
        producer.begin_transaction()
        for event in events:
            previous = before.get(event.cid)
            more = [] if previous is None else [("ce_previous", cid_text(previous.cid).encode())]
            partition = partition_of(event.key or b"", 2)
            producer.produce(topic, b"{}", event.key, partition, headers=[*event.headers, *more])
        assert producer.flush(60) == 0
        (producer.commit_transaction if is_committed else producer.abort_transaction)(60)


async def test_what_came_is_proven_and_what_is_missing_is_said(
    language: str, bootstrap: str, topic_prefix: str, classes: Path
) -> None:
    ada, grace = chain("p-1", 4), chain("Ä", 2)
    before = {after.cid: event for each in (ada, grace) for event, after in pairwise(each)}
    topics = {name: f"{topic_prefix}subscribers.{name}" for name in ("whole", "broken")}
    await make_topics(bootstrap, list(topics.values()), partitions=2)
    publish(bootstrap, topics["whole"], [ada[1], ada[2], ada[2], *grace, ada[3]], before)  # the first is too old
    publish(bootstrap, topics["broken"], [ada[0], ada[2], ada[3]], before)
    for topic in topics.values():
        await until_settled(bootstrap, topic)
    environment = {**os.environ, "ANNALS_BOOTSTRAP_SERVERS": bootstrap, "ANNALS_TOPIC_PREFIX": topic_prefix}

    whole = subscriber(language, "whole", environment, classes)
    assert (whole.returncode, whole.stderr) == (0, "")
    *lines, summary = whole.stdout.splitlines()
    assert summary == "5 events, 1 seen before; 0 do not continue their chain"
    assert f"p-1 version 4: annals.person.PersonRenamed.v1 {cid_text(ada[3].cid)}" in lines
    assert len([line for line in lines if line.startswith("Ä version ")]) == 2

    broken = subscriber(language, "broken", environment, classes)
    assert broken.returncode == 1, broken.stderr
    *lines, summary = broken.stdout.splitlines()
    assert summary == "3 events, 0 seen before; 1 do not continue their chain"
    assert f"{cid_text(ada[2].cid)}: continues {cid_text(ada[1].cid)}, " in lines[1]
    assert lines[1].endswith(cid_text(ada[0].cid))
