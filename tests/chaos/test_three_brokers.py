"""A real cluster of three: topics with three copies are as promised or refused by name, and one broker may die."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError
from chaos_checker import Report
from chaos_cluster import Cluster
from chaos_commands import persons, rename
from chaos_scenario import Scenario, assert_clean
from chaos_workers import eventually
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    PartitionMetadata,
    ResourceType,
)

from annals.workers.kafka.write.transaction import TransactionalWriter
from processes import ENTRY_POINT, LOOK_S, WITHIN_S, own_environment
from whole_topics import known_topics

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PERSONS = 10


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until_ended(people: Scenario) -> Report:
    """Wait until every command is answered, and what of that is written by another broker can be read; check it all."""
    people.until_answered()
    eventually(
        lambda: not people.records.has_open_transactions("events.person"), "all markers of the journal are written"
    )
    # Who leads since a moment ago shows less than it has, until its followers have asked it.
    eventually(lambda: not people.check().lost, "what was answered can be read", told=lambda: str(people.check()))
    return people.check()


def leader_of(people: Scenario, topic: str) -> int:
    """Who leads its first partition; -1: nobody, or it is not known now."""
    found = known_topics(people.admin).get(topic)
    return -1 if found is None or 0 not in found.partitions else found.partitions[0].leader


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), cache_dir) as running:
        yield running


@pytest.fixture
def people(cluster: Cluster, tmp_path: Path) -> Iterator[Scenario]:
    """A deployment for persons, each topic with a copy on every broker."""
    with Scenario(cluster.bootstrap, f"c{secrets.token_hex(4)}.", tmp_path, kinds=("person",)) as made:
        yield made.make_topics(copies=3)


def annals(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ENTRY_POINT, *command], env=own_environment(), capture_output=True, text=True, timeout=600, check=False
    )


def alter(bootstrap: str, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def test_topics_with_three_copies_are_good_until_they_could_lose_what_was_acknowledged(cluster: Cluster) -> None:
    prefix = f"c{secrets.token_hex(4)}."
    to = ["--bootstrap-servers", cluster.bootstrap, "--topic-prefix", prefix, "--replication-factor", "3", "--json"]
    made = annals("topics", "create", *to)
    assert made.returncode == 0, made.stderr
    good = annals("topics", "check", *to)
    assert (good.returncode, json.loads(good.stdout)["refusals"]) == (0, []), good.stdout
    assert json.loads(good.stdout)["warnings"] == []
    lies = {
        (f"{prefix}events.person", "min.insync.replicas"): "1",
        (f"{prefix}outcomes.workflow", "min.insync.replicas"): "1",
        (f"{prefix}events.person", "unclean.leader.election.enable"): "true",
        (f"{prefix}commands.person", "unclean.leader.election.enable"): "true",
    }
    for (topic, name), value in lies.items():
        alter(cluster.bootstrap, topic, name, value)
    found: dict[tuple[str, str], str] = {}

    def refused() -> bool:
        checked = annals("topics", "check", *to)
        found.clear()
        found.update(
            {(each["topic"], each["setting"]): each["found"] for each in json.loads(checked.stdout)["refusals"]}
        )
        return checked.returncode == 1 and len(found) == len(lies)

    eventually(refused, "what was altered is refused", told=lambda: str(found))
    assert found == lies


def test_the_broker_that_leads_the_journal_is_killed_and_every_promise_is_kept(
    cluster: Cluster, people: Scenario
) -> None:
    worker = people.start().until_ready()
    people.send(persons(PERSONS, 1))
    assert_clean(until_ended(people))
    topic = f"{people.prefix}events.person"

    def first_partition() -> PartitionMetadata | None:
        """What a broker says of it; None if it is the one that is killed just now, or has lost its leader."""
        found = known_topics(people.admin).get(topic)
        return None if found is None else found.partitions.get(0)

    def leader() -> int:
        found = first_partition()
        return -1 if found is None else found.leader

    def has_copies(on: set[int]) -> bool:
        found = first_partition()
        return found is not None and set(found.isrs) == on

    first = eventually(lambda: max(0, leader()), "one leads")
    turn = 100

    def busy_until(is_so, what: str) -> None:
        """Send without waiting for anything, until it is so."""

        def sent() -> bool:
            nonlocal turn
            turn += 1
            people.sender.send(rename(number, turn) for number in range(PERSONS))
            return is_so()

        eventually(sent, what, told=people.told)

    committed = worker.metric("annals_events_total", kind="person")
    busy_until(lambda: worker.metric("annals_events_total", kind="person") > committed + 50, "it decides")
    cluster.nodes[first].kill()
    committed = worker.metric("annals_events_total", kind="person")
    busy_until(lambda: leader() not in (first, -1), "another one leads")
    busy_until(lambda: worker.metric("annals_events_total", kind="person") > committed + 50, "it goes on with two")
    cluster.nodes[first].start()
    people.send(rename(number, 1) for number in range(PERSONS))
    assert_clean(until_ended(people))
    eventually(lambda: has_copies({1, 2, 3}), "all three have a copy again")
    worker.until_ready()
    people.send(rename(number, 2) for number in range(PERSONS))
    assert_clean(until_ended(people))
    assert worker.end() == 0


async def test_a_writer_whose_coordinator_is_dead_asks_who_coordinates_now(cluster: Cluster) -> None:
    """Goes red when it fences at the dead one until that comes back: the shard is closed for so long."""
    name = f"annals-c{secrets.token_hex(4)}"
    writer = TransactionalWriter({"bootstrap_servers": cluster.bootstrap, "request_timeout_ms": 15_000}, name, [])
    await writer.fence()
    node = await writer._brokers.coordinator(CoordinationType.TRANSACTION, name)
    cluster.nodes[node].kill()
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    await writer.fence()
                except (KafkaError, OSError):
                    await asyncio.sleep(LOOK_S)
                else:
                    break
        assert await writer._brokers.coordinator(CoordinationType.TRANSACTION, name) != node
    finally:
        await writer.close()
        cluster.nodes[node].start()


def test_a_broker_that_falls_silent_is_named_and_its_partitions_go_on_elsewhere(
    cluster: Cluster, people: Scenario
) -> None:
    """A machine that is gone closes no connection: nobody is told, and whoever waits for an answer waits."""
    worker = people.start("a", {"reads": True}, ROLES="write,read", API_PORT="0").until_ready()
    people.send(persons(PERSONS, 1))
    assert_clean(until_ended(people))
    topic = f"{people.prefix}events.person"
    first = eventually(lambda: known_topics(people.admin)[topic].partitions[0].leader, "one leads")
    with stopped(cluster.nodes[first].pid):
        people.sender.send(rename(number, 1) for number in range(PERSONS))
        where = cluster.nodes[first].bootstrap
        said = f"no answer from Kafka broker {first} at {where} (2 of 3 answer)"
        worker.until_reason("", said)
        eventually(lambda: leader_of(people, topic) not in {first, -1}, "another leads", told=people.told)
        people.sender.flush()
        assert_clean(until_ended(people))
        worker.until_ready()
    worker.until_ready()
    assert worker.end() == 0
