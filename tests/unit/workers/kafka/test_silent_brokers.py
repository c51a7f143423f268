"""Of several brokers the one that does not answer is named, by its id and its address."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, LeaderNotAvailableError
from aiokafka.structs import BrokerMetadata

from annals.workers.kafka import diagnosis
from annals.workers.kafka.diagnosis import no_answer

ALL = "a:9092,b:9092,c:9092"
PORTS = {1: 9101, 2: 9102, 3: 9103}


class Client:
    """Knows three brokers, of which some answer, some are gone, and some keep the connection and say nothing."""

    def __init__(self, gone: set[int], silent: set[int], known: int = 3) -> None:
        brokers = [BrokerMetadata(node, "kafka", PORTS[node], None) for node in sorted(PORTS, reverse=True)[-known:]]
        self.cluster = SimpleNamespace(brokers=lambda: brokers)
        self.gone, self.silent = gone, silent

    async def send(self, node: int, request: Any) -> None:
        if node in self.gone:
            raise KafkaConnectionError
        if node in self.silent:
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "SILENT_S", 0.05)


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (Client(set(), {2}), "no answer from Kafka broker 2 at kafka:9102 (2 of 3 answer)"),
        (Client({3}, {1}), "no answer from Kafka broker 1 at kafka:9101, 3 at kafka:9103 (1 of 3 answer)"),
        (Client({1, 2, 3}, set()), f"no answer from the Kafka brokers at {ALL}: TimeoutError"),
        (Client(set(), {1}, known=1), f"no answer from the Kafka brokers at {ALL}: TimeoutError"),
        (None, f"no answer from the Kafka brokers at {ALL}: TimeoutError"),
    ],
    ids=["one is silent", "two do not answer", "none answers", "it is the only one", "not connected"],
)
async def test_who_does_not_answer_is_named(client: Any, said: str) -> None:
    assert await no_answer(client, ALL, TimeoutError()) == said


async def test_where_all_answer_what_they_lack_is_told() -> None:
    """Goes red when all are said to be silent, because one partition has no leader."""
    client: Any = Client(set(), set())
    said = await no_answer(client, ALL, LeaderNotAvailableError("events.person-0 has no leader at present"))
    assert said == f"the Kafka brokers at {ALL} answer, and not to everything: events.person-0 has no leader at present"


async def test_whoever_is_cancelled_meanwhile_ends() -> None:
    client: Any = Client(set(), {1})
    asking = asyncio.create_task(no_answer(client, ALL, TimeoutError()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
