"""A journal that loses its end under a reading worker stops it and its publishers: no other history goes out."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_chain import cid_of
from chaos_commands import persons
from chaos_damage import cut
from chaos_journal import block, write
from chaos_scenario import Scenario, delete_before
from chaos_subscriber import Subscribers
from chaos_workers import Worker, eventually

from annals.agents.aggregates import REGISTRY
from annals.workers.publishing.service import SubscriptionService
from annals.workers.settings import client_options, load_settings
from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

COUNT = 20
SOON_S = 2.0


class Readers:
    """A worker that decides, one that reads and publishes, and a subscriber that has all events of the journal."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        given = {"bootstrap_servers": scenario.bootstrap, "topic_prefix": scenario.prefix, "partitions": "1"}
        settings = load_settings(given)
        kinds = {kind: REGISTRY[kind] for kind in scenario.kinds}
        self.service = SubscriptionService(settings, client_options(settings), kinds)
        self.topics = Subscribers(scenario.bootstrap, scenario.prefix, ())

    def start(self, name: str) -> Worker:
        return self.scenario.start(name, {"session_ms": 3_000, "reads": True}, ROLES="read", API_PORT="0")

    def got(self) -> int:
        return self.topics.read().has("all")

    def until_got(self, count: int) -> None:
        eventually(lambda: self.got() >= count, f"the subscriber has {count}", told=self.scenario.told)

    def append(self, count: int) -> None:
        """Write events that count behind the cut, as those who write would if they had been deceived."""
        self.scenario.read_anew()
        registered = self.scenario.read().by_place["events.person", 0][:count]
        records = [
            (key, block(key, 2, cid_of(record.value or b""), f"late-{at}", f"Ada {at}"))
            for at, record in enumerate(registered)
            for key in [(record.key or b"").decode()]
        ]
        write(self.scenario.bootstrap, self.scenario.prefix, records, 1)


@pytest.fixture
async def readers(chaos_broker: Broker, tmp_path: Path) -> Iterator[Readers]:
    """One partition with 20 persons, registered one by one: the journal ends at 40, with a marker behind each."""
    prefix = f"r{tmp_path.name[-12:].replace('_', '-')}{time.time_ns() % 10**9}."
    with Scenario(chaos_broker.bootstrap, prefix, tmp_path, kinds=("person",)) as scenario:
        scenario.make_topics(partitions=1)
        writer = scenario.start("w", ROLES="write").until_ready()
        for ask in persons(COUNT, 0):
            scenario.send([ask])
            scenario.until_answered()
        made = Readers(scenario)
        await made.service.put("all", {"kinds": ["person"]})
        made.topics.attach_to(["all"])
        made.start("r").until_ready()
        made.until_got(COUNT)
        writer.end()
        scenario.workers.remove(writer)
        yield made
        made.topics.close()


def cut_under(scenario: Scenario, broker: Broker, role: str, offset: int) -> None:
    broker.kill()
    cut(broker, f"{scenario.prefix}{role}.person", offset)
    broker.start()


def stops(worker: Worker, *words: str, within_s: float = 60.0) -> str:
    def reason() -> str:
        assert worker.process.poll() is None, worker.told()
        reasons = worker.reasons()
        return next((each for each in reasons if "person-0 is stopped: " in each), "")

    found = eventually(reason, "the shard stops", within_s, worker.told)
    assert [word for word in words if word not in found] == [], found
    return found


def has_stopped_publishing(worker: Worker, *words: str) -> None:
    def reason() -> str:
        return next((each for each in worker.reasons() if "person-0 is not published: " in each), "")

    found = eventually(reason, "the publisher stops", 10, worker.told)
    assert [word for word in words if word not in found] == [], found


@pytest.mark.parametrize("burst", [0, 15])
async def test_a_journal_that_lost_its_end_under_a_reading_worker_stops_it_for_good(
    readers: Readers, chaos_broker: Broker, burst: int
) -> None:
    scenario = readers.scenario
    (worker,) = scenario.workers
    cut_under(scenario, chaos_broker, "events", 30)
    began = time.monotonic()
    if burst:
        readers.append(burst)
    there = f"ends at offset {30 + burst}"
    stops(worker, "ends at offset ", "40", "offset 38")  # what was written behind the cut may be there yet or not
    if not burst:
        assert time.monotonic() - began < 2 * SOON_S  # the client looks for the broker again meanwhile
    has_stopped_publishing(worker, "published up to offset 40", "ends at ")
    other = readers.start("other")
    worker.end()
    stops(other, there, "offset 38")  # with a store of its own, which is empty
    other.end()
    shutil.rmtree(scenario.data_dir("other"))
    again = readers.start("r")
    stops(again, there, "offset 38")
    has_stopped_publishing(again, "published up to offset 40", f"{30 + burst}")
    assert readers.got() == COUNT


async def test_a_front_that_is_deleted_under_a_reading_worker_stops_it(readers: Readers) -> None:
    (worker,) = readers.scenario.workers
    await asyncio.to_thread(delete_before, readers.scenario, f"{readers.scenario.prefix}events.person", 10)
    stops(worker, "begins at offset 10 instead of 0", "40", within_s=2 * SOON_S)
    has_stopped_publishing(worker, "begins at offset 10")


async def test_a_journal_made_anew_under_a_reading_worker_stops_it_for_good(readers: Readers) -> None:
    scenario = readers.scenario
    (worker,) = scenario.workers
    topic = f"{scenario.prefix}events.person"
    for future in scenario.admin.delete_topics([topic], operation_timeout=30).values():
        future.result(30)
    eventually(
        lambda: any("are gone" in each and topic in each for each in worker.reasons()),
        "the worker says what is gone", 2 * SOON_S, worker.told,
    )  # fmt: skip
    scenario.make_topics(1, only=("events.person",))
    stops(worker, "ends at offset 0", "offset 38", within_s=30)
    has_stopped_publishing(worker, "40", "0")
    worker.end()
    stops(readers.start("other"), "ends at offset 0", "offset 38")
    assert readers.got() == COUNT
