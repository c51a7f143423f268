"""examples/journal_copy.py, as the section on backups of docs/how-to/run-in-production.md has it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from processes import annals, worker_on_topics_of_its_own
from whole_topics import delete

EXAMPLE = Path(__file__).parents[2] / "examples/journal_copy.py"

DATA = {"RegisterPerson": {"name": "Ada"}, "RenamePerson": {"name": "Ada King"}, "ArchivePerson": {"reason": "moved"}}

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def copy(what: str, topic: str, file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            EXAMPLE,
            what,
            topic,
            file,
            "--servers",
            environment["ANNALS_BOOTSTRAP_SERVERS"],
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, done.stdout + done.stderr


def sent(environment: dict[str, str], *types: str) -> list[int]:
    """The versions to which commands to five persons lead."""
    lines = [
        json.dumps({"kind": "person", "type": type_, "aggregate_id": f"p-{number}", "data": DATA[type_]})
        for type_ in types
        for number in range(5)
    ]
    done = annals("send", environment=environment, said="\n".join(lines))
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line)["version"] for line in done.stdout.splitlines()]


def test_workers_go_on_with_a_journal_that_was_saved_and_restored(
    bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    topic, backup = f"{topic_prefix}events.person", tmp_path / "person.backup"
    with worker_on_topics_of_its_own(bootstrap, topic_prefix, tmp_path) as environment:
        sent(environment, "RegisterPerson", "RenamePerson")
        assert said(copy("save", topic, backup, environment)) == (0, "10 records saved\n")
        status, why = said(copy("restore", topic, backup, environment))
        assert status == 1
        assert "is not empty: delete the topic and create it again" in why
        status, why = said(copy("save", topic, backup, environment))
        assert status == 1, "a backup is not written over"
        assert "File exists" in why
    asyncio.run(delete(bootstrap, topic))
    assert annals("topics", "create", environment=environment).returncode == 0
    assert said(copy("restore", topic, backup, environment)) == (0, "10 records restored\n")
    verified = annals("verify", "person", environment=environment)
    assert (verified.returncode, verified.stdout[:9]) == (0, "10 events")
    with worker_on_topics_of_its_own(bootstrap, topic_prefix, tmp_path) as environment:
        assert sent(environment, "ArchivePerson") == [3] * 5


def test_a_backup_that_fails_midway_is_not_there_under_its_name_nor_beside_it(
    bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """The first partition is in the file already when the second turns out to have lost its beginning."""
    topic, backup = f"{topic_prefix}events.cut", tmp_path / "backups" / "cut.backup"
    backup.parent.mkdir()
    admin, producer = AdminClient({"bootstrap.servers": bootstrap}), Producer({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, 2, 1)]).values()
    made.result(60)
    for partition in (0, 0, 1, 1):
        producer.produce(topic, b"event", b"p-1", partition)
    assert producer.flush(60) == 0
    (cut,) = admin.delete_records([TopicPartition(topic, 1, 1)]).values()
    cut.result(60)
    environment = {**os.environ, "ANNALS_BOOTSTRAP_SERVERS": bootstrap}
    status, why = said(copy("save", topic, backup, environment))
    assert status == 1
    assert "partition 1 begins at offset 1: events are gone already" in why
    assert list(backup.parent.iterdir()) == []
    asyncio.run(delete(bootstrap, topic))
