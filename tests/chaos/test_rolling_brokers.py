"""A cluster under maintenance while all roles work: brokers rolled, copies and leaders moved; every promise is kept."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from chaos_cluster import NODES, Cluster
from chaos_commands import persons, rename
from chaos_publishing import service_of, subscribe
from chaos_scenario import Scenario, assert_clean
from chaos_subscriber import Subscribers, check_subscriber, counted
from chaos_workers import Worker, eventually
from confluent_kafka import ElectionType
from confluent_kafka.admin import PartitionMetadata

from whole_topics import known_topics

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PERSONS = 20
EVERY_S = 0.2
FURTHER = 100
REASSIGN_MS = 30_000


@contextmanager
def load(people: Scenario) -> Iterator[None]:
    """Commands all the while."""
    over = threading.Event()

    def send() -> None:
        turn = 1_000
        while not over.wait(EVERY_S):
            turn += 1
            people.sender.send(rename(number, turn) for number in range(PERSONS))
            people.sender.send_unknown_again()

    sending = threading.Thread(target=send, name="load")
    sending.start()
    try:
        yield
    finally:
        over.set()
        sending.join()


class Maintenance:
    """What is done to the cluster; after each step of it the workers decide further."""

    def __init__(self, cluster: Cluster, people: Scenario, workers: list[Worker]) -> None:
        self._cluster = cluster
        self._people = people
        self._workers = workers

    def roll(self, node: int) -> None:
        """Stop a broker in order, and start it again."""
        self._cluster.nodes[node].stop()
        self._go_on(f"without {node}")
        self._cluster.nodes[node].start()
        self._until_copies_on(set(NODES))
        self._go_on(f"with {node}")

    async def reassign(self, *nodes: int) -> None:
        """Move the copies of all topics to these brokers, and have the first of them lead."""
        topics = [(name, [(each.id, list(nodes), {}) for each in copies], {}) for name, copies in self._topics()]
        admin = AIOKafkaAdminClient(bootstrap_servers=self._people.bootstrap)
        await admin.start()
        try:
            answer = await admin._send_to_controller(AlterPartitionReassignmentsRequest(REASSIGN_MS, topics, {}))
            assert answer.error_code == 0, answer
        finally:
            await admin.close()
        self._until_copies_on(set(nodes))
        self._people.admin.elect_leaders(ElectionType.PREFERRED).result(60)

        def are_led() -> bool:
            return {each.leader for _, copies in self._topics() for each in copies} == {nodes[0]}

        eventually(are_led, f"{nodes[0]} leads all", told=lambda: str(self._topics()))
        self._go_on(f"on {nodes}")

    def _topics(self) -> list[tuple[str, list[PartitionMetadata]]]:
        """The partitions of each of the deployment's topics; none where nobody answers."""
        known = known_topics(self._people.admin).items()
        return [(name, list(it.partitions.values())) for name, it in known if name.startswith(self._people.prefix)]

    def _until_copies_on(self, nodes: set[int]) -> None:
        def are_there() -> bool:
            found = [each for _, copies in self._topics() for each in copies]
            return bool(found) and all(set(each.replicas) == set(each.isrs) == nodes for each in found)

        eventually(are_there, f"copies on {nodes}", told=lambda: str(self._topics()))

    def _go_on(self, when: str) -> None:
        before = self._events()
        eventually(lambda: self._events() > before + FURTHER, f"events {when}", told=self._people.told)
        for worker in self._workers:
            worker.until_ready()

    def _events(self) -> float:
        return sum(worker.metric("annals_events_total") for worker in self._workers)


async def test_maintenance_of_the_cluster_loses_doubles_and_forks_nothing(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    with (
        Cluster(tmp_path / "cluster", cache_dir) as cluster,
        Scenario(cluster.bootstrap, f"c{secrets.token_hex(4)}.", tmp_path, kinds=("person",)) as people,
    ):
        people.make_topics(copies=len(NODES))
        how = {"ROLES": "write,read", "API_PORT": "0", "PARTITIONS": "2"}
        workers = [people.start(name, {"reads": True}, **how).until_ready() for name in "ab"]
        await subscribe(service_of(people, partitions=2, copies=len(NODES)), "all")
        topics = Subscribers(people.bootstrap, people.prefix, ())
        topics.subscribe("all")
        people.send(persons(PERSONS, 1))
        maintenance = Maintenance(cluster, people, workers)
        with load(people):
            for node in NODES:
                maintenance.roll(node)
            for nodes in ((2, 3), (3, 1), (1, 2, 3)):
                await maintenance.reassign(*nodes)
        people.until_answered()
        # who leads since a moment ago shows less than it has, until its followers have asked it
        eventually(lambda: not people.check().lost, "all can be read", told=lambda: str(people.check()))
        assert_clean(people.check())
        chains = counted(people.read(), "person")

        def has_all() -> bool:
            topics.read()
            return not check_subscriber(chains, topics.places("all")).lost

        eventually(has_all, "the subscriber has all", told=people.told)
        report = check_subscriber(chains, topics.places("all"))
        assert not any(report.counts().values()), str(report)
        topics.close()
        assert [worker.end() for worker in workers] == [0, 0]
