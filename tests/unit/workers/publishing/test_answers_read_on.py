"""Whoever asks for a subscription again has what came since read, not the topics of progress and deliveries whole."""

from typing import Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.schemas.delivery import IN_FLIGHT, PARKED, WAITING, Row, encode_row, row_key
from annals.schemas.progress import Progress, encode_progress, progress_key
from annals.workers.kafka.read import newest_records
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import compacted_views
from annals.workers.publishing import service as services
from annals.workers.publishing.service import SubscriptionService
from annals.workers.reacting.service import ReactionService
from annals.workers.settings import Settings
from chained import chain
from publishing import World, shown
from reactors import COUNTING

ROLES = ("subscribers", "acks", "parked", "deliveries")


@pytest.fixture
async def world(monkeypatch):
    async def nothing(*_, **__):
        """The topics are there."""

    made: Any = World()
    topics = [f"{role}.all" for role in ROLES] + [f"events.{kind}" for kind in REGISTRY]
    topics += ["subscriptions", "reactions", "progress", "timers.counting", "dead-letters"]
    made.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
    monkeypatch.setattr(services, "create_missing", nothing)
    views = compacted_views.CompactedViews()
    made.service = SubscriptionService(Settings(), made.options(), REGISTRY, views)
    made.reactions = ReactionService(Settings(), made.options(), {"counting": COUNTING}, views)
    made.read = {}
    reading = newest_records.read_range

    async def read_range(client, where, start, end, **options):
        async for records in reading(client, where, start, end, **options):
            made.read[where[0]] = made.read.get(where[0], 0) + len(records)
            yield records

    monkeypatch.setattr(newest_records, "read_range", read_range)
    await made.service.put("all", {"kinds": ["person"], "delivery": "acknowledged"})
    return made


def row(world, number, state, *, incarnation=1):
    (cid,) = shown(chain("p", 1))
    of = "person", f"p-{number}", 1, cid, "PersonRenamed", number
    made = Row(*of, ordered=True, state=state, incarnation=incarnation)
    world.model.append(("deliveries.all", 0), row_key(made).encode(), encode_row(made))


def settled(world, number):
    world.model.append(("deliveries.all", 0), f"person/p-{number}".encode(), None)


def moved(world, position):
    value = encode_progress(Progress(position, None, 1))
    world.model.append(("progress", 0), progress_key("all", "events.person", 0), value)


async def counted(world):
    found = (await world.service.get("all")).body
    return found["deliveries"], found["positions"]["person"]


async def test_who_asks_again_reads_what_came_since(world):
    for number in range(500):
        row(world, number, PARKED)
        row(world, number + 1_000, IN_FLIGHT)
        settled(world, number + 1_000)
        moved(world, number)
    row(world, 5_000, WAITING, incarnation=2)
    assert await counted(world) == ({"unsettled": 500, "in_flight": 0, "parked": 500}, [499])
    assert world.read["deliveries.all"] > 1_500
    world.read.clear()
    row(world, 1, IN_FLIGHT)
    settled(world, 2)
    moved(world, 500)
    assert await counted(world) == ({"unsettled": 499, "in_flight": 1, "parked": 498}, [500])
    assert world.read == {"subscriptions": 1, "deliveries.all": 3, "progress": 2}
    await world.service.pause("all")
    assert await counted(world) == ({"unsettled": 499, "in_flight": 1, "parked": 498}, [500])


async def test_a_change_reads_what_came_since_and_counts_what_is_not_settled_before_it(world):
    """What is judged by the former definition is what is not settled below its ends."""
    for number in range(100):
        row(world, number, PARKED)
        moved(world, 100)
    (event,) = chain("p-1", 1)
    for _ in range(200):
        world.model.append(("events.person", 0), event.key, event.value)
    etag = (await world.service.get("all")).etag
    world.read.clear()
    answered = await world.service.put(
        "all", {"kinds": ["person"], "types": ["PersonRenamed"], "delivery": "acknowledged"}, etag
    )
    assert answered.body["deliveries"] == {"unsettled": 100, "in_flight": 0, "parked": 100}
    assert world.read["deliveries.all"] <= 3
    assert world.read["progress"] <= 3
    for number in range(100):
        settled(world, number)
    moved(world, 200)
    renamed = {"kinds": ["person"], "types": ["PersonRegistered"], "delivery": "acknowledged"}
    assert (await world.service.put("all", renamed, answered.etag)).body["deliveries"]["unsettled"] == 0


async def test_timers_of_a_reaction_are_read_on_too(world):
    for number in range(200):
        due = f"2026-11-21T09:{number % 60:02}:00.000000Z".encode()
        value = b'{"version":1,"due":"%b","cause":"c","correlation_id":null}' % due
        world.model.append(("timers.counting", 0), b'["timer","p-%d","","t"]' % number, value)
        world.model.append(("timers.counting", 0), b'["state","p-%d",""]' % number, b'{"version":1,"state":1}')
    shown = (await world.reactions.get("counting")).body["timers"]
    assert shown == {"pending": 200, "next_due": "2026-11-21T09:00:00.000000Z"}
    world.read.clear()
    for number in range(0, 200, 60):
        world.model.append(("timers.counting", 0), b'["timer","p-%d","","t"]' % number, None)
    shown = (await world.reactions.get("counting")).body["timers"]
    assert shown == {"pending": 196, "next_due": "2026-11-21T09:01:00.000000Z"}
    assert world.read["timers.counting"] == 5
