"""Under a quota of the broker subscribers are served as fast as that allows, each event once, and told of."""

import asyncio

import pytest
from chaos_commands import persons
from chaos_publishing import service_of, subscribe
from chaos_scenario import Scenario, assert_clean
from chaos_subscriber import Subscribers, check_subscriber, counted
from chaos_workers import Worker, eventually

from quotas import WORKERS, alter

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

COUNT = 1_200
CLEAN = dict.fromkeys(("lost", "doubled", "disordered", "invented", "wrong"), 0)


def limit(scenario: Scenario, bytes_per_second: float | None) -> None:
    """How much workers may write; None: no bound."""
    asyncio.run(alter(scenario.bootstrap, WORKERS, producer_byte_rate=bytes_per_second))


def test_subscribers_have_each_event_once_under_a_quota_that_outlasts_transactions(people: Scenario) -> None:
    writer = people.start("w", ROLES="write").until_ready()
    people.send(persons(COUNT, 0))
    assert_clean(people.until_answered())
    writer.end()
    people.workers.remove(writer)
    service = service_of(people, partitions=2)
    for name in ("early", "late"):
        asyncio.run(subscribe(service, name))
    topics = Subscribers(people.bootstrap, people.prefix, ())
    topics.subscribe("early", "late")
    # record batches so small that those of a full run go one after the other
    plan = {"session_ms": 3_000, "subscriber_batch_bytes": 40_000}

    def start(name: str) -> Worker:
        return people.start(name, plan, ROLES="read", API_PORT="0", COMPRESSION="none")

    limit(people, 10_000)
    try:
        worker = start("r")
        worker.until_logged("batches halved")
        told = "is published slowly: "
        eventually(lambda: any(told in reason for reason in worker.reasons()), "it says so", told=worker.told)
        eventually(lambda: topics.read().has("early"), "some are published", told=people.told)
        worker.kill()
        worker = start("s")
        worker.until_logged("batches halved")
    finally:
        limit(people, None)
    chains = counted(people.read(), "person")
    count = sum(map(len, chains.values()))
    assert count == COUNT
    for name in ("early", "late"):
        eventually(lambda name=name: topics.read().has(name) >= count, f"{name} has all", told=people.told)
        report = check_subscriber(chains, topics.places(name))
        assert report.counts() == CLEAN, f"{name}: {report}"
    worker.until_ready()
    topics.close()
