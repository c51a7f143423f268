"""Topics that somebody changes under running workers: what a start would be refused for is named before it costs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from grouped import ONE_KIND, Group, GroupWorker, group
from whole_topics import until_set

pytestmark = pytest.mark.broker

SOON = {**ONE_KIND, "annals.workers.topic_watch:LOOK_S": 0.5}
TOPIC = "events.person"


class Changed:
    """The topics of a group, as an administrator changes them."""

    def __init__(self, crew: Group) -> None:
        self.crew = crew
        self._admin = AdminClient({"bootstrap.servers": crew.settings.bootstrap_servers})

    def named(self, topic: str) -> str:
        return f"{self.crew.settings.topic_prefix}{topic}"

    def set(self, topic: str, name: str, value: str | None) -> None:
        """Give a topic a setting; None: take it away."""
        resource = ConfigResource(ResourceType.TOPIC, self.named(topic))
        how = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=how))
        for done in self._admin.incremental_alter_configs([resource]).values():
            done.result(30)
        if value is not None:
            until_set(self.crew.settings.bootstrap_servers, self.named(topic), name, value)

    def add_partitions(self, topic: str, number: int) -> None:
        for done in self._admin.create_partitions([NewPartitions(self.named(topic), number)]).values():
            done.result(30)


@pytest.fixture
def changed(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Changed]:
    with group(bootstrap, topic_prefix, tmp_path, 1) as made:
        yield Changed(made)


@pytest.fixture
def worker(changed: Changed) -> GroupWorker:
    return changed.crew.worker("one", SOON).until_ready()


@pytest.mark.parametrize(
    ("name", "value", "as_it_was"),
    [("retention.ms", "60000", "-1"), ("cleanup.policy", "compact", "delete"), ("segment.bytes", "1048576", None)],
)
def test_a_journal_that_could_lose_events_from_now_on_is_named(
    changed: Changed, worker: GroupWorker, name: str, value: str, as_it_was: str | None
) -> None:
    """Goes red when readiness stays 200 until the first events are deleted."""
    changed.set(TOPIC, name, value)
    assert worker.until_told(f"{changed.named(TOPIC)}: {name} is {value}, wanted ").startswith("write: ")
    assert set(changed.crew.answers(2)) == {"accepted"}
    changed.set(TOPIC, name, as_it_was)
    worker.until_ready()
    assert len(worker.logged("a topic was changed")) == 1
    assert worker.logged("the topics are as they should be again")


def test_a_worker_that_reads_alone_names_it_too(changed: Changed) -> None:
    patches = {name: value for name, value in SOON.items() if "topic_watch" in name}
    worker = changed.crew.worker("reads", patches, ROLES="read", API_PORT="0").until_ready()
    changed.set(TOPIC, "retention.ms", "60000")
    assert worker.until_told(f"{changed.named(TOPIC)}: retention.ms is 60000, wanted -1").startswith("read: ")
    assert worker.end() == 0


@pytest.mark.parametrize("topic", ["events.person", "outcomes.person", "snapshots.person"])
def test_partitions_that_are_added_to_any_topic_of_a_kind_are_named(
    changed: Changed, worker: GroupWorker, topic: str
) -> None:
    """Other readers compute a key's partition by how many there are: to them the whole journal would be foreign."""
    changed.add_partitions(topic, 3)
    worker.until_told(f"{changed.named(topic)} has 3 partitions, at the start it had 1")


def test_partitions_that_are_added_to_restore_points_are_named(changed: Changed, worker: GroupWorker) -> None:
    """Goes red when it is the next start that is refused for them."""
    changed.add_partitions("restore.person", 3)
    worker.until_told(f"{changed.named('restore.person')}: partitions is 3, wanted 1")
    assert not worker.logged("partitions were added")


def test_a_worker_that_reads_alone_names_partitions_that_are_added_to_a_journal(changed: Changed) -> None:
    patches = {name: value for name, value in SOON.items() if "topic_watch" in name}
    worker = changed.crew.worker("reads", patches, ROLES="read", API_PORT="0").until_ready()
    changed.add_partitions(TOPIC, 3)
    worker.until_told(f"{changed.named(TOPIC)}: partitions is 3, wanted 1")
    assert worker.end() == 0


@pytest.mark.parametrize("topic", ["events.person", "outcomes.person"])
def test_a_topic_that_takes_less_than_it_did_is_named_and_batches_are_halved_to_what_it_takes(
    changed: Changed, worker: GroupWorker, topic: str
) -> None:
    """Goes red when the same batch is tried again as it is, for ever, with no word of the topic in readiness."""
    changed.set(topic, "max.message.bytes", "3000")
    lines = [_line(f"p-{number}") for number in range(200)]
    sending = changed.crew.annals("send", "--timeout", "100")
    output, _ = sending.communicate("\n".join(lines))
    assert {json.loads(line)["status"] for line in output.splitlines()} == {"accepted"}
    halved = worker.logged("batches halved")
    assert f"{changed.named(topic)}-0 refused a batch" in halved[0]["error"]
    assert "its max.message.bytes or its segment.bytes is too low" in halved[0]["error"]


def test_one_command_for_which_there_is_no_room_is_named_and_answered_once_there_is(
    changed: Changed, worker: GroupWorker
) -> None:
    changed.set("outcomes.person", "max.message.bytes", "100")
    with changed.crew.annals("send", "--timeout", "300") as sending:  # it is tried again after a minute
        assert sending.stdin is not None
        assert sending.stdout is not None
        sending.stdin.write(_line("p-1"))
        sending.stdin.close()
        reason = worker.until_told("is refused for its size")
        assert f"{changed.named('outcomes.person')}-0 refused a batch" in reason
        changed.set("outcomes.person", "max.message.bytes", "4194304")
        assert json.loads(sending.stdout.read())["status"] == "accepted"
    worker.until_ready()


def _line(person: str) -> str:
    command: dict[str, Any] = {"type": "RegisterPerson", "aggregate_id": person, "data": {"name": "Ada Lovelace"}}
    return json.dumps({"kind": "person", **command})
