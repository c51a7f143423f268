"""What tells how far publishing is loses its end under a worker that publishes: nothing is published once more."""

import asyncio
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from chaos_publishing import COUNT, Readers, asked_again, has_stopped_publishing, subscribe, twenty_persons
from chaos_scenario import cut_under
from chaos_workers import WITHIN_S, Worker, eventually

from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


@pytest.fixture
def readers(chaos_broker: Broker, tmp_path: Path) -> Iterator[Readers]:
    with twenty_persons(chaos_broker, tmp_path) as made:
        yield made


@pytest.fixture
async def publishing(readers: Readers) -> Readers:
    await readers.subscribe("all")
    return readers


def told(worker: Worker, *words: str) -> None:
    def is_told() -> bool:
        assert worker.process.poll() is None, worker.told()
        return any(all(word in reason for word in words) for reason in worker.reasons())

    eventually(is_told, f"readiness says {words}", told=worker.told)


def make_anew(readers: Readers, name: str) -> None:
    readers.scenario.delete_topics(name)
    readers.scenario.make_topics(1, only=(name,))


@pytest.mark.parametrize("is_made_anew", [False, True], ids=["cut", "made anew"])
async def test_progress_that_lost_its_end_stops_publishing_for_good(
    publishing: Readers, chaos_broker: Broker, *, is_made_anew: bool
) -> None:
    (worker,) = publishing.scenario.workers
    if is_made_anew:
        make_anew(publishing, "progress")
    else:
        cut_under(publishing.scenario, chaos_broker, "progress", 1)
    has_stopped_publishing(worker, "progress-0 ends at offset ", "and it reached ")
    publishing.append(5)
    worker.end()
    other = publishing.start("other")
    has_stopped_publishing(other, "progress-0 ", "Restore it", "delete the topic of progress and the group ")
    other.end()
    shutil.rmtree(publishing.scenario.data_dir("other"))
    assert publishing.got() == COUNT


@pytest.mark.parametrize("is_made_anew", [False, True], ids=["cut", "made anew"])
async def test_subscriptions_that_lost_their_end_hold_as_they_were_known(
    publishing: Readers, chaos_broker: Broker, *, is_made_anew: bool
) -> None:
    (worker,) = publishing.scenario.workers
    await subscribe(publishing.service, "late", start="beginning")
    publishing.topics.subscribe("late")
    publishing.until_got(2 * COUNT)  # so the worker has read its record
    if is_made_anew:
        make_anew(publishing, "subscriptions")
        told(worker, "subscriptions was deleted and made anew")
    else:
        cut_under(publishing.scenario, chaos_broker, "subscriptions", 2)
        told(worker, "subscriptions-0 ", "it lost its end, was emptied or made anew")
    publishing.append(5)
    publishing.until_got(2 * (COUNT + 5))  # as if its record were there yet


async def test_deliveries_that_lost_their_end_pause_their_subscription(readers: Readers, chaos_broker: Broker) -> None:
    await readers.subscribe("slow", delivery="acknowledged")
    (worker,) = readers.scenario.workers

    def rows() -> int:
        return int(worker.metric("annals_unsettled", subscription="slow"))

    assert await asyncio.to_thread(eventually, rows, "there are rows")
    cut_under(readers.scenario, chaos_broker, "deliveries.slow", 0)  # all rows are one batch
    worker.end()

    async def reason() -> str:
        return (await asked_again(partial(readers.service.get, "slow"))).body["reason"] or ""

    other = readers.start("other")
    async with asyncio.timeout(WITHIN_S):
        while "deliveries.slow-0 ends at offset " not in await reason():
            assert other.process.poll() is None
    assert "and it reached " in await reason()
