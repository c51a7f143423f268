"""Brokers that close each connection when its login is so old (`connections.max.reauth.ms`, KIP-368): nothing is lost.

aiokafka does not log in again on a connection that is open. Whoever asks on one that is too old is not answered, and
asks again on another one; a transaction whose end was not answered is looked up in the journal.
"""

import json
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from acl_cluster import APP_ID, PARTITIONS, PREFIX, PROPERTIES, Cluster
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


def test_commands_are_decided_once_each_while_sessions_expire_under_transactions(
    tmp_path: Path, cache_dir: Path | None
) -> None:
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
            worker = GroupWorker(process, port, log).until_ready()
            producer, sent = Producer(cluster.root), 0

            def sessions_have_expired() -> bool:
                nonlocal sent
                person = f"p-{sent}"
                asked = {"id": person, "type": "RegisterPerson", "aggregate_id": person, "data": {"name": "Ada"}}
                where = partition_of(person.encode(), PARTITIONS)
                producer.produce(f"{PREFIX}commands.person", json.dumps(asked).encode(), partition=where)
                assert producer.flush(30) == 0
                sent += 1
                return len(worker.logged("shard not open")) >= EXPIRED

            worker.until(sessions_have_expired, "transactions have met the ends of their sessions")
            worker.until(lambda: events(worker) == sent, "what was sent is decided")
            worker.until_ready()
            assert process.poll() is None
        verified = cluster.run(cluster.environment(), "verify", "person", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert json.loads(verified.stdout)["events"] == json.loads(verified.stdout)["aggregates"] == sent


def events(worker: GroupWorker) -> int:
    (line,) = (each for each in worker.metrics().splitlines() if each.startswith("annals_events_total{"))
    return int(float(line.split()[-1]))
