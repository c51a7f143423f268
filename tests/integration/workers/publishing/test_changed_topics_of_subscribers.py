"""Topics of a subscriber that somebody changes under workers: they are named, and no answer is lost that was taken."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from annals.topics.keys import partition_of
from grouped import AGAIN, Group, GroupWorker, group
from processes import WITHIN_S
from whole_topics import reader_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.broker

PARTITIONS, MORE = 2, 8
PEOPLE = 8
SOON: dict[str, Any] = {"annals.workers.topic_watch:LOOK_S": 0.5}
ASKED: dict[str, Any] = {
    "kinds": ["person"],
    "start": "now",  # what earlier tests had decided is not theirs
    "delivery": "acknowledged",
    "retry": {"ack_timeout_ms": 600_000},
}


class Workers(NamedTuple):
    """A worker that decides, and one that reads."""

    crew: Group
    reader: GroupWorker


class Site:
    """A subscription of one test to what the workers do from now on."""

    def __init__(self, workers: Workers, name: str) -> None:
        self.crew, self.reader = workers
        self.name = name
        self.path = f"/v1/subscriptions/{name}"
        self.admin = AdminClient({"bootstrap.servers": self.crew.settings.bootstrap_servers})
        self.prefix = self.crew.settings.topic_prefix
        self.reader.subscribe(name, **ASKED)

    def end(self) -> None:
        """End the subscription, and wait until nothing that was done to its topics is a reason any more."""

        status, answer = self.reader.asked("DELETE", self.path, **{"if-match": "*"})
        assert status in {200, 204, 404}, answer
        self.reader.until_ready()

    def put_again(self) -> None:
        """Put it once more: asked again while the partitions that miss a topic have it paused (503), or not in time."""
        status, answer = self.reader.asked("PUT", self.path, {"name": self.name, **ASKED}, **{"if-match": "*"})
        assert status == 200, answer

    def set(self, topic: str, name: str, value: str) -> None:
        resource = ConfigResource(ResourceType.TOPIC, f"{self.prefix}{topic}")
        resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
        for done in self.admin.incremental_alter_configs([resource]).values():
            done.result(60)

    def add_partitions(self, topic: str) -> None:
        for done in self.admin.create_partitions([NewPartitions(f"{self.prefix}{topic}", MORE)]).values():
            done.result(60)

    def delete(self, topic: str) -> None:
        for done in self.admin.delete_topics([f"{self.prefix}{topic}"], operation_timeout=30).values():
            done.result(60)

    def answer(self, cid: str) -> None:
        """Take an event over HTTP."""
        body = {"cid": cid, "attempt": 1, "verdict": "ack"}

        def is_taken() -> bool:
            status, answer = self.reader.call("POST", f"{self.path}/acks", body)
            assert status in {202, *AGAIN}, answer
            return status == 202 and answer == {"accepted": 1}

        self.reader.until(is_taken, f"the answer to {cid} is taken")

    def is_settled(self) -> bool:
        """Whether nothing is open; not so, too, where it is not answered."""
        shown = self.reader.call("GET", self.path)[1]
        return bool(shown.get("deliveries") == {"unsettled": 0, "in_flight": 0, "parked": 0})

    async def delivered(self, count: int) -> list[tuple[bytes, str]]:
        """Key and CID of so many deliveries."""
        found: list[tuple[bytes, str]] = []
        async with reader_of(self.crew.settings.bootstrap_servers) as consumer, asyncio.timeout(WITHIN_S):
            consumer.assign([TopicPartition(f"{self.prefix}subscribers.{self.name}", at) for at in range(PARTITIONS)])
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += [(record.key, dict(record.headers)["ce_id"].decode()) for record in records]
        return found


@pytest.fixture(scope="module")
def workers(bootstrap: str, shared_prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with group(bootstrap, shared_prefix, tmp_path_factory.mktemp("crew"), PARTITIONS) as crew:
        crew.worker("writes", {}, ROLES="write").until_ready()
        yield Workers(crew, crew.worker("reads", SOON, ROLES="read", API_PORT="0").until_ready())


@pytest.fixture
def site(workers: Workers) -> Iterator[Site]:
    made = Site(workers, f"s{secrets.token_hex(4)}")
    yield made
    made.end()


def is_named(worker: GroupWorker, words: str) -> None:
    assert worker.until_told(words).startswith("read: ")


def test_answers_over_http_reach_the_partition_that_is_read_though_there_are_more(site: Site) -> None:
    """Goes red when an answer that was taken (202) goes where nobody reads: its event comes again, and is parked."""
    site.add_partitions(f"acks.{site.name}")
    site.crew.answers(PEOPLE)
    delivered = asyncio.run(site.delivered(PEOPLE))
    assert any(partition_of(key, MORE) >= PARTITIONS for key, _ in delivered)
    for _, cid in delivered:
        site.answer(cid)
    site.reader.until(site.is_settled, "all is settled")


def test_an_answer_in_a_wrong_partition_is_moved_to_one_that_is_read_though_there_are_more(site: Site) -> None:
    site.add_partitions(f"acks.{site.name}")
    site.crew.answers(PEOPLE)
    delivered = asyncio.run(site.delivered(PEOPLE))

    async def answer() -> None:
        async with AIOKafkaProducer(bootstrap_servers=site.crew.settings.bootstrap_servers) as producer:
            for key, cid in delivered:
                body = json.dumps({"cid": cid, "attempt": 1, "verdict": "ack"}).encode()
                wrong = 1 - partition_of(key, PARTITIONS)
                await producer.send_and_wait(f"{site.prefix}acks.{site.name}", body, key, partition=wrong)

    asyncio.run(answer())
    site.reader.until(site.is_settled, "all is settled")


def test_partitions_that_are_added_to_answers_are_named_and_the_remedy_helps(site: Site) -> None:
    """Goes red when nobody says that answers in them are never read."""
    site.add_partitions(f"acks.{site.name}")
    is_named(site.reader, f"{site.prefix}acks.{site.name}: partitions is {MORE}, wanted {PARTITIONS}: ")
    site.delete(f"acks.{site.name}")
    is_named(site.reader, f"{site.prefix}acks.{site.name}: partitions is 0, wanted {PARTITIONS}: ")
    site.put_again()
    site.reader.until_ready()
    site.crew.answers(PEOPLE)
    for _, cid in asyncio.run(site.delivered(PEOPLE)):
        site.answer(cid)
    site.reader.until(site.is_settled, "all is settled")


@pytest.mark.parametrize(
    ("topic", "policy", "wanted"), [("deliveries", "delete", "compact"), ("acks", "compact", "delete")]
)
def test_a_policy_that_forgets_what_is_not_settled_is_named_until_it_is_mended(
    site: Site, topic: str, policy: str, wanted: str
) -> None:
    """Goes red when rows of deliveries expire, or answers are compacted, and nothing says so."""
    site.set(f"{topic}.{site.name}", "cleanup.policy", policy)
    is_named(site.reader, f"{site.prefix}{topic}.{site.name}: cleanup.policy is {policy}, wanted {wanted}")
    site.set(f"{topic}.{site.name}", "cleanup.policy", wanted)
    site.reader.until_ready()
