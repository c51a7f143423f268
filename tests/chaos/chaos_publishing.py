"""A worker that reads and publishes a journal that does not grow any more, and a subscriber that has all of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.structs import TopicPartition
from chaos_chain import cid_of
from chaos_commands import persons
from chaos_journal import block, write
from chaos_scenario import Scenario
from chaos_subscriber import Subscribers
from chaos_workers import WITHIN_S, Worker, eventually

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.workers.publishing.service import SubscriptionService
from annals.workers.settings import client_options, load_settings
from annals.workers.tools.broker import Broker

COUNT = 20
BUSY = 503  # of what brokers that start, or are busy, did not do in time
Found = TypeVar("Found")


def service_of(scenario: Scenario, partitions: int, copies: int = 1) -> SubscriptionService:
    """What administers subscriptions to the kinds of a scenario. copies: of each topic."""
    given = {"bootstrap_servers": scenario.bootstrap, "topic_prefix": scenario.prefix, "partitions": str(partitions)}
    settings = load_settings(given | {"replication_factor": str(copies)})
    return SubscriptionService(settings, client_options(settings), {kind: REGISTRY[kind] for kind in scenario.kinds})


async def asked_again(ask: Callable[[], Awaitable[Found]]) -> Found:
    """What is answered to somebody who asks again as long as brokers are busy."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await ask()
            except Refused as refused:
                if refused.status != BUSY:
                    raise


async def subscribe(service: SubscriptionService, name: str, **more: Any) -> None:
    """Put a new subscription to persons."""
    statuses: list[int] = []

    async def put() -> None:
        try:
            await service.put(name, {"kinds": ["person"], **more})
        except Refused as refused:
            statuses.append(refused.status)
            if statuses[-2:] != [BUSY, 412]:  # else it was made, though not in time
                raise

    await asked_again(put)


class Readers:
    """A worker that decides, one that reads and publishes, and a subscriber that has all events of the journal."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.service = service_of(scenario, partitions=1)
        self.topics = Subscribers(scenario.bootstrap, scenario.prefix, ())

    def start(self, name: str) -> Worker:
        return self.scenario.start(name, {"session_ms": 3_000, "reads": True}, ROLES="read", API_PORT="0")

    async def subscribe(self, name: str, **more: Any) -> None:
        """Put a subscription, start a worker that publishes, and wait until all is there."""
        await subscribe(self.service, name, **more)
        self.topics.subscribe(name)
        self.start("r").until_ready()
        self.until_got(COUNT)

    def got(self) -> int:
        """How many records there are for subscribers."""
        return sum(map(len, self.topics.read().by_place.values()))

    def until_got(self, count: int) -> None:
        eventually(lambda: self.got() >= count, f"the subscriber has {count}", told=self.scenario.told)

    def append(self, count: int) -> None:
        """Write events that count behind the cut, as those who write would if they had been deceived."""
        self.scenario.read_anew()
        registered = self.scenario.read().by_place[TopicPartition("events.person", 0)][:count]
        records = [
            (key, block(key, 2, cid_of(record.value or b""), f"late-{at}", f"Ada {at}"))
            for at, record in enumerate(registered)
            for key in [(record.key or b"").decode()]
        ]
        write(self.scenario.bootstrap, self.scenario.prefix, records, 1)


@contextmanager
def twenty_persons(broker: Broker, folder: Path) -> Iterator[Readers]:
    """One partition with 20 persons, registered one by one: the journal ends at 40, with a marker behind each.

    Nobody reads yet, and there is no subscription.
    """
    prefix = f"r{folder.name[-12:].replace('_', '-')}{time.time_ns() % 10**9}."
    with Scenario(broker.bootstrap, prefix, folder, kinds=("person",)) as scenario:
        scenario.make_topics(partitions=1)
        writer = scenario.start("w", ROLES="write").until_ready()
        scenario.send_one_by_one(persons(COUNT, 0))
        writer.end()
        scenario.workers.remove(writer)
        made = Readers(scenario)
        try:
            yield made
        finally:
            made.topics.close()


def stops(worker: Worker, *words: str) -> str:
    return worker.until_first_reason("read: person-0 is stopped: ", *words)


def has_stopped_publishing(worker: Worker, *words: str) -> None:
    worker.until_reason("read: person-0 is not published: ", *words)
