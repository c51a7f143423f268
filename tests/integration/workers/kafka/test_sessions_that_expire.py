"""Brokers that close each connection when its login is so old (`connections.max.reauth.ms`, KIP-368): nothing is lost.

aiokafka does not log in again on a connection that is open. Whoever asks on one that is too old is not answered, and
asks again on another one; a transaction whose end was not answered is looked up in the journal.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from acl_cluster import APP_ID, PARTITIONS, PASSWORD, PREFIX, PROPERTIES, Cluster
from annals.topics.keys import partition_of
from annals.topics.rights import TOPICS_CREATE, WORKER, rights
from annals.workers.registry import deciders, reactions
from annals.workers.tools.broker import Broker
from grouped import LAUNCHER, ONE_KIND, GroupWorker
from processes import free_port, running

pytestmark = pytest.mark.broker

SESSION_MS = "4000"
EXPIRED = 5
ALL = rights(PREFIX, APP_ID, tuple(deciders()), tuple(reactions()))


@contextmanager
def deciding(tmp_path: Path, cache_dir: Path | None) -> Iterator[tuple[Cluster, GroupWorker]]:
    """A broker with short sessions, and a worker that decides on persons, with a login of its own."""
    properties = PROPERTIES | {"connections.max.reauth.ms": SESSION_MS}
    with Broker(tmp_path / "broker", cache_dir=cache_dir, properties=properties) as broker:
        cluster = Cluster(broker.bootstrap, tmp_path)
        created = cluster.run(cluster.user("creator", ALL[TOPICS_CREATE]), "topics", "create")
        assert created.returncode == 0, created.stderr
        port, log = free_port(), tmp_path / "log"
        environment = cluster.user("worker", ALL[WORKER]) | {
            "ANNALS_DATA_DIR": str(tmp_path / "data"),
            "ANNALS_WEB_PORT": str(port),
            "ANNALS_LOG_FORMAT": "json",
        }
        command = [sys.executable, "-c", LAUNCHER, json.dumps(ONE_KIND), "worker"]
        with running(command, environment, log) as process:
            yield cluster, GroupWorker(process, port, log).until_ready()
            assert process.poll() is None


class Sender:
    """Registers one person after the other."""

    def __init__(self, cluster: Cluster) -> None:
        self._producer = Producer(cluster.root)
        self.sent = 0

    def send(self) -> None:
        person = f"p-{self.sent}"
        asked = {"id": person, "type": "RegisterPerson", "aggregate_id": person, "data": {"name": "Ada"}}
        where = partition_of(person.encode(), PARTITIONS)
        self._producer.produce(f"{PREFIX}commands.person", json.dumps(asked).encode(), partition=where)
        assert self._producer.flush(30) == 0
        self.sent += 1


def test_commands_are_decided_once_each_while_sessions_expire_under_transactions(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    with deciding(tmp_path, cache_dir) as (cluster, worker):
        sender = Sender(cluster)

        def sessions_have_expired() -> bool:
            sender.send()
            return len(worker.logged("shard not open")) >= EXPIRED

        worker.until(sessions_have_expired, "transactions have met the ends of their sessions")
        worker.until(lambda: events(worker) == sender.sent, "what was sent is decided")
        worker.until_ready()
        verified = cluster.run(cluster.environment(), "verify", "person", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert json.loads(verified.stdout)["events"] == json.loads(verified.stdout)["aggregates"] == sender.sent


def test_a_password_that_changed_under_a_worker_is_named_as_that_and_its_return_heals(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    """Goes red when readiness says of brokers that refuse the login that they do not answer."""
    with deciding(tmp_path, cache_dir) as (cluster, worker):
        sender = Sender(cluster)
        sender.send()
        worker.until(lambda: events(worker) == sender.sent, "it decides")
        cluster.set_password("worker", "another-one")
        reason = worker.until_told("refuses the login")
        assert "ANNALS_SASL_PASSWORD" in reason
        assert "read when a worker starts" in reason
        assert PASSWORD not in worker.log.read_text()
        sender.send()
        cluster.set_password("worker", PASSWORD)
        worker.until(lambda: events(worker) == sender.sent, "what was sent meanwhile is decided")
        worker.until_ready()


def events(worker: GroupWorker) -> int:
    (line,) = (each for each in worker.metrics().splitlines() if each.startswith("annals_events_total{"))
    return int(float(line.split()[-1]))
