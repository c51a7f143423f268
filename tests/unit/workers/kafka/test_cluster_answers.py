"""What brokers that are away, half away or unwilling are to those who ask: told apart, without a broker."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError, NodeNotReadyError

from annals.workers.kafka import diagnosis
from annals.workers.kafka.admin import cluster
from annals.workers.kafka.admin.cluster import BrokersUnreachableError, NotPermittedError, administration, topic_facts
from annals.workers.kafka.admin.creation import create_topics
from annals.workers.kafka.admin.provisioning import _why_not as why_not
from annals.workers.settings import Settings


class Admin:
    """Answers as it was made to."""

    def __init__(self, topics: list[dict[str, Any]], configs: list[tuple[Any, ...]] | None = None) -> None:
        self.topics, self.configs = topics, configs or []

    async def describe_topics(self) -> list[dict[str, Any]]:
        return self.topics

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        names = {resource.name for resource in resources}
        return [SimpleNamespace(resources=[each for each in self.configs if each[3] in names])]


def topic(name: str, leader: int = 1, error_code: int = 0) -> dict[str, Any]:
    return {
        "topic": name,
        "error_code": error_code,
        "partitions": [{"partition": 0, "leader": leader, "replicas": [1], "isr": [1]}],
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (topic("t", leader=-1), r"t: partitions \[0\] have no leader"),
        (topic("t", error_code=5), "t: LeaderNotAvailable"),
    ],
)
async def test_a_topic_without_a_leader_is_away_and_not_wrong(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(BrokersUnreachableError, match=reason):
        await topic_facts(Admin([answer]), Settings(), ["t"])


async def test_settings_that_may_not_be_read_are_no_settings_that_differ() -> None:
    admin = Admin([topic("t")], [(29, "no", 2, "t", [])])
    with pytest.raises(
        NotPermittedError, match=r"t: its settings cannot be read \(no\): the user needs DescribeConfigs"
    ):
        await topic_facts(admin, Settings(), ["t"])


async def test_whoever_needs_no_settings_is_not_refused_for_those_that_may_not_be_read() -> None:
    """Goes red when publishing, whose rights are without DescribeConfigs, is not ready for a topic of a subscriber."""
    admin = Admin([topic("t"), topic("u")], [(29, "no", 2, "t", []), (0, None, 2, "u", [("retention.ms", "1")])])
    facts = await topic_facts(admin, Settings(), ["t", "u"], needs_settings=False)
    assert {name: each.config for name, each in facts.items()} == {"t": {}, "u": {"retention.ms": "1"}}


async def test_a_new_topic_that_one_broker_does_not_know_yet_is_no_refusal() -> None:
    admin = Admin([topic("t")], [(3, None, 2, "t", [])])
    with pytest.raises(BrokersUnreachableError, match="t: UnknownTopicOrPartitionError"):
        await topic_facts(admin, Settings(), ["t"])


class Creating:
    """Answers the wish for topics as it was made to."""

    def __init__(self, *answers: tuple[str, int, str | None]) -> None:
        self.answers = answers

    async def create_topics(self, topics: list[Any]) -> Any:
        assert len(topics) == len(self.answers)
        return SimpleNamespace(topic_errors=self.answers)


async def test_what_is_not_created_says_whether_it_is_of_rights_of_the_wish_or_of_the_moment() -> None:
    answers = (
        ("new", 0, None),
        ("there", 36, "exists"),
        ("kept", 29, None),
        ("odd", 40, "no such setting"),
        ("now", 41, None),
    )
    made, refusals = await create_topics(Creating(*answers), [None] * 5)
    assert made == ["new"]
    assert [(str(each), each.is_of_rights) for each in refusals] == [
        ("kept could not be created: TopicAuthorizationFailedError", True),
        ("odd could not be created: no such setting", False),
        ("now could not be created: NotControllerError", False),
    ]
    assert [type(why_not(each, Settings())) for each in refusals] == [
        NotPermittedError,
        NotPermittedError,
        BrokersUnreachableError,
    ]


async def test_kafkas_own_topics_are_known_without_their_settings() -> None:
    facts = await topic_facts(
        Admin([topic("__transaction_state"), topic("other")]), Settings(), ["__transaction_state"]
    )
    assert list(facts) == ["__transaction_state"]
    assert (facts["__transaction_state"].replication_factor, facts["__transaction_state"].config) == (1, {})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(admin: object) -> None:
        """As if a broker had answered."""

    monkeypatch.setattr(cluster.AIOKafkaAdminClient, "start", at_once)


async def test_what_a_later_try_may_change_is_brokers_that_are_away(started: None) -> None:
    with pytest.raises(BrokersUnreachableError, match="no Kafka broker answers"):
        async with administration(Settings(bootstrap_servers="127.0.0.1:1")):
            raise NodeNotReadyError("away")


async def test_a_refusal_is_an_answer(started: None) -> None:
    with pytest.raises(ClusterAuthorizationFailedError):
        async with administration(Settings(bootstrap_servers="127.0.0.1:1")):
            raise ClusterAuthorizationFailedError("no")


async def test_a_broker_that_accepts_and_says_nothing_is_told_in_time(
    started: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "WITHIN_S", 0.1)
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen()
        server = f"127.0.0.1:{frozen.getsockname()[1]}"
        with pytest.raises(BrokersUnreachableError, match="it does not answer in time"):
            async with asyncio.timeout(30), administration(Settings(bootstrap_servers=server)):
                raise TimeoutError
