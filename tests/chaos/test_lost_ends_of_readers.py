"""A journal that loses its end under a reading worker stops it and its publishers: no other history goes out."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chaos_publishing import COUNT, Readers, has_stopped_publishing, stops, twenty_persons
from chaos_scenario import cut_under, delete_before
from chaos_workers import eventually

from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


@pytest.fixture
async def readers(chaos_broker: Broker, tmp_path: Path) -> AsyncIterator[Readers]:
    with twenty_persons(chaos_broker, tmp_path) as made:
        await made.subscribe("all")
        yield made


@pytest.mark.parametrize("burst", [0, 15])
async def test_a_journal_that_lost_its_end_under_a_reading_worker_stops_it_for_good(
    readers: Readers, chaos_broker: Broker, burst: int
) -> None:
    scenario = readers.scenario
    (worker,) = scenario.workers
    cut_under(scenario, chaos_broker, "events.person", 30)
    if burst:
        readers.append(burst)
    there = f"ends at offset {30 + burst}"
    stops(worker, "ends at offset ", "40", "offset 38")  # what was written behind the cut may be there yet or not
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
    stops(worker, "begins at offset 10 instead of 0", "40")
    has_stopped_publishing(worker, "begins at offset 10")


async def test_a_journal_made_anew_under_a_reading_worker_stops_it_for_good(readers: Readers) -> None:
    scenario = readers.scenario
    (worker,) = scenario.workers
    (topic,) = scenario.delete_topics("events.person")
    eventually(
        lambda: any("are gone" in each and topic in each for each in worker.reasons()),
        "the worker says what is gone",
        told=worker.told,
    )
    scenario.make_topics(1, only=("events.person",))
    stops(worker, "ends at offset 0", "offset 38")
    has_stopped_publishing(worker, "40", "0")
    worker.end()
    stops(readers.start("other"), "ends at offset 0", "offset 38")
    assert readers.got() == COUNT
