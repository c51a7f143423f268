"""Of several brokers the one that does not answer is named, by its id and its address."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, LeaderNotAvailableError
from aiokafka.structs import BrokerMetadata

from annals.workers import watch
from annals.workers.clock import SystemClock
from annals.workers.kafka import diagnosis
from annals.workers.kafka.diagnosis import no_answer
from annals.workers.kafka.group.sources import Sources
from annals.workers.settings import Settings
from annals.workers.telemetry import Metrics
from annals.workers.watch import Watch
from annals.workers.writing.shards import Shards

ALL = "127.0.0.1:1,127.0.0.2:1,127.0.0.3:1"
OPTIONS = {"bootstrap_servers": ALL, "security_protocol": "PLAINTEXT"}
PORTS = {1: 9101, 2: 9102, 3: 9103}


class Client:
    """Knows three brokers, of which some answer, some are gone, and some keep the connection and say nothing."""

    def __init__(self, gone: set[int], silent: set[int], known: int = 3) -> None:
        brokers = [BrokerMetadata(node, "kafka", PORTS[node], None) for node in sorted(PORTS, reverse=True)[-known:]]
        self.cluster = SimpleNamespace(brokers=lambda: brokers)
        self.gone, self.silent = gone, silent
        self.is_closed = False

    async def send(self, node: int, request: Any) -> None:
        if node in self.gone:
            raise KafkaConnectionError
        if node in self.silent:
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.is_closed = True


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
    assert await no_answer(client, OPTIONS, TimeoutError()) == said


async def test_where_all_answer_what_they_lack_is_told() -> None:
    """Goes red when all are said to be silent, because one partition has no leader."""
    client: Any = Client(set(), set())
    said = await no_answer(client, OPTIONS, LeaderNotAvailableError("events.person-0 has no leader at present"))
    assert said == f"the Kafka brokers at {ALL} answer, and not to everything: events.person-0 has no leader at present"


async def test_whoever_is_cancelled_meanwhile_ends() -> None:
    client: Any = Client(set(), {1})
    asking = asyncio.create_task(no_answer(client, OPTIONS, TimeoutError()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_watch_names_it_also_where_it_connects_anew_and_asks_that_one_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goes red when every third look says that none of them answers: in which order they are asked is drawn."""
    first, later = Client(set(), {2}), Client(set(), set())
    answers: list[Any] = [first, TimeoutError(), later]

    async def connect(*_: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def count(self: Watch, client: Any) -> None:
        if client is first:
            raise TimeoutError

    monkeypatch.setattr(watch, "connect", connect)
    monkeypatch.setattr(Watch, "_count", count)
    metrics, clock = Metrics(), SystemClock()
    shards = Shards(Settings(), {}, {}, {}, 1, Sources(), metrics, clock, {})
    watching = Watch(OPTIONS, {}, {}, shards, metrics, clock)
    said = []
    for _ in range(2):
        await watching._look()
        said.append(watching.problem)
    assert said == ["no answer from Kafka broker 2 at kafka:9102 (2 of 3 answer)"] * 2
    await watching._look()
    assert (watching.problem, first.is_closed, later.is_closed) == (None, True, False)
