"""Many requests to one worker that change subscriptions or reactions at the same time: one waits for the other."""

import asyncio

import msgspec

from annals.agents.aggregates import REGISTRY
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing.service import SubscriptionService
from annals.workers.reacting.service import ReactionService
from annals.workers.settings import Settings
from publishing import World
from reactors import COUNTING

MANY = 10
NAMED = [f"s-{number}" for number in range(MANY)]


def world_of():
    world = World()
    topics = ("subscriptions", "reactions", "progress", *(f"events.{kind}" for kind in REGISTRY))
    world.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
    for name in NAMED:
        record = {"definition": {"name": name, "start": "beginning"}, "incarnation": 1, "begin": {}}
        world.model.append(("subscriptions", 0), name.encode(), msgspec.json.encode(record))
    return world


async def test_of_ten_changes_of_subscriptions_at_once_none_is_refused():
    """Goes red when they fence one another: each tries twice, and most are answered 503."""
    service = SubscriptionService(Settings(), world_of().options(), REGISTRY)
    found = await asyncio.gather(*map(service.pause, NAMED))
    assert [each.body["status"] for each in found] == ["paused"] * MANY
    assert len({each.etag for each in found}) == MANY


async def test_of_ten_changes_of_reactions_at_once_none_is_refused():
    service = ReactionService(Settings(), world_of().options(), {"counting": COUNTING})
    found = await asyncio.gather(*(service.pause("counting", name) for name in NAMED))
    assert {each.body["reason"] for each in found} == set(NAMED)
