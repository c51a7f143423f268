"""A right that is taken from a worker that decides: named in readiness with its resource, and nothing is lost by it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from acl_cluster import APP_ID, PARTITIONS, PREFIX, PROPERTIES, Cluster
from annals.topics.keys import partition_of
from annals.topics.rights import TOPICS_CREATE, WORKER, Right, rights
from annals.workers.kafka.write.transaction import TransactionalWriter
from annals.workers.registry import deciders, reactions
from annals.workers.tools.broker import Broker
from grouped import LAUNCHER, ONE_KIND, GroupWorker
from processes import free_port, running

pytestmark = pytest.mark.broker

ALL = rights(PREFIX, APP_ID, tuple(deciders()), tuple(reactions()))
JOURNAL = f"annals-{PREFIX}events.person-"
# What is taken away, and what is then said.
TAKEN = [
    ("commands.person", "Read", f"the user needs Read on the topic: {PREFIX}commands.person"),
    ("commands.person", "Write", f"the user needs Write on the topic: {PREFIX}commands.person-"),
    ("events.person", "Write", f"the user needs Write on the topic: {PREFIX}events.person-"),
    ("outcomes.person", "Write", f"the user needs Write on the topic: {PREFIX}outcomes.person-"),
    ("snapshots.person", "Write", f"the user needs Write on the topic: {PREFIX}snapshots.person-"),
    ("restore.person", "Write", f"the user needs Write on the topic: {PREFIX}restore.person-"),
    ("dead-letters", "Write", f"the user needs Write on the topic: {PREFIX}dead-letters-"),
    (JOURNAL, "Write", f"the user needs Write on the transactional id: {JOURNAL}"),
    (f"{PREFIX}{APP_ID}", "Read", f"the user needs Read on the group: {PREFIX}{APP_ID}"),
]


class Scene(NamedTuple):
    """A worker with its rights."""

    cluster: Cluster
    worker: GroupWorker
    producer: Producer
    granted: list[Right]
    sent: list[str]

    def right(self, name: str, operation: str) -> Right:
        names = {name, f"{PREFIX}{name}"}
        return next(each for each in self.granted if each.name in names and operation in each.operations)

    def send(self) -> None:
        """What has each topic written to: commands for both partitions, one that is misplaced, and one that is none."""
        for is_away in (*[False] * 8, True):
            person = f"p-{len(self.sent)}"
            self._produce(person, partition_of(person.encode(), PARTITIONS) ^ is_away)
            self.sent.append(person)
        self.producer.produce(f"{PREFIX}commands.person", b"none", partition=0)
        assert self.producer.flush(30) == 0

    def _produce(self, person: str, partition: int) -> None:
        command = {"id": person, "type": "RegisterPerson", "aggregate_id": person, "data": {"name": "Ada"}}
        self.producer.produce(f"{PREFIX}commands.person", json.dumps(command).encode(), partition=partition)

    def events(self) -> int:
        (line,) = (each for each in self.worker.metrics().splitlines() if each.startswith("annals_events_total{"))
        return int(float(line.split()[-1]))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("taken")
    with Broker(folder / "broker", cache_dir=cache_dir, properties=PROPERTIES) as broker:
        cluster = Cluster(broker.bootstrap, folder)
        created = cluster.run(cluster.user("creator", ALL[TOPICS_CREATE]), "topics", "create")
        assert created.returncode == 0, created.stderr
        port, log = free_port(), folder / "log"
        environment = cluster.user("worker", ALL[WORKER]) | {
            "ANNALS_DATA_DIR": str(folder / "data"),
            "ANNALS_WEB_PORT": str(port),
            "ANNALS_LOG_FORMAT": "json",
            "ANNALS_SNAPSHOT_EVERY": "1",
            "ANNALS_RESTORE_POINT_EVENTS": "1",
        }
        command = [sys.executable, "-c", LAUNCHER, json.dumps(ONE_KIND), "worker"]
        with running(command, environment, log) as process:
            worker = GroupWorker(process, port, log).until_ready()
            yield Scene(cluster, worker, Producer(cluster.root), ALL[WORKER], [])
            assert process.poll() is None


@pytest.mark.parametrize(("name", "operation", "told"), TAKEN)
def test_each_right_is_named_where_it_is_taken_away_and_all_goes_on_with_it(
    scene: Scene, name: str, operation: str, told: str
) -> None:
    with scene.cluster.without("worker", scene.right(name, operation), operation):
        scene.send()
        reason = scene.worker.until_told(told)
        assert reason.startswith("write: ")
    scene.worker.until_ready()
    scene.worker.until(lambda: scene.events() == len(scene.sent), "what was sent is decided")


async def test_of_what_a_transaction_adds_the_topic_is_named_that_may_not_be_written(scene: Scene) -> None:
    """Goes red when the one is told that was not attempted because of the other, or no topic at all."""
    topics = [f"{PREFIX}{role}.person" for role in ("events", "outcomes", "snapshots")]
    environment = scene.cluster.user("adding", scene.granted)
    login = {"sasl_mechanism": environment["ANNALS_SASL_MECHANISM"], "security_protocol": "SASL_PLAINTEXT"}
    login |= {"sasl_plain_username": "adding", "sasl_plain_password": environment["ANNALS_SASL_PASSWORD"]}
    options = {"bootstrap_servers": scene.cluster.bootstrap, **login}
    writer = TransactionalWriter(options, f"{JOURNAL}adding", topics)
    try:
        for lacking in ("events.person", "outcomes.person"):
            await writer.fence()
            wheres = [TopicPartition(topic, 0) for topic in topics]
            with (
                scene.cluster.without("adding", scene.right(lacking, "Write"), "Write"),
                pytest.raises(TopicAuthorizationFailedError, match=f"{PREFIX}{lacking}-0 is not taken"),
            ):
                await writer._add_partitions(writer._producer_id, wheres)
    finally:
        await writer.close()


def test_a_journal_that_a_reading_worker_may_not_read_is_named(scene: Scene, tmp_path: Path) -> None:
    """Goes red when all that is told is that it starts again."""
    port, log = free_port(), tmp_path / "log"
    environment = scene.cluster.user("reader", scene.granted) | {
        "ANNALS_ROLES": "read",
        "ANNALS_PUBLISH": "0",
        "ANNALS_DATA_DIR": str(tmp_path / "data"),
        "ANNALS_WEB_PORT": str(port),
        "ANNALS_API_PORT": "0",
    }
    command = [sys.executable, "-c", LAUNCHER, json.dumps(ONE_KIND), "worker"]
    with running(command, environment, log) as process:
        worker = GroupWorker(process, port, log)
        with scene.cluster.without("reader", scene.right("events.person", "Read"), "Read"):
            # Where the right is gone while a shard opens, the shard is named before it.
            reason = worker.until_told(f"the user needs Read on the topic: {PREFIX}events.person")
            assert reason.startswith("read: ")
        worker.until_ready()


def test_a_reading_worker_reads_on_without_any_right_on_snapshots_and_restore_points(
    scene: Scene, tmp_path: Path
) -> None:
    """It keeps snapshots of its own, and uses restore points when a shard opens: a running one needs neither topic."""
    port, log = free_port(), tmp_path / "log"
    environment = scene.cluster.user("reading", scene.granted) | {
        "ANNALS_ROLES": "read",
        "ANNALS_PUBLISH": "0",
        "ANNALS_DATA_DIR": str(tmp_path / "data"),
        "ANNALS_WEB_PORT": str(port),
        "ANNALS_API_PORT": "0",
        "ANNALS_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-c", LAUNCHER, json.dumps(ONE_KIND), "worker"]
    with running(command, environment, log) as process:
        worker = GroupWorker(process, port, log).until_ready()
        for name in ("snapshots.person", "restore.person"):
            for operation in ("Read", "Write", "DescribeConfigs"):
                with scene.cluster.without("reading", scene.right(name, operation), operation):
                    scene.send()
                    of_newest = f"/v1/aggregates/person/{scene.sent[-1]}"
                    worker.until(lambda of=of_newest: worker.asked("GET", of)[0] == 200, f"without {operation} {name}")
                    assert worker.asked("POST", f"{of_newest}/snapshots")[0] == 201
                    assert worker.health() == []
        refused = [line for line in log.read_text().splitlines() if "uthoriz" in line]
        assert not [line for line in refused if "snapshots.person" in line or "restore.person" in line]
