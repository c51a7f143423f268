"""A change of a subscription and those who publish: an event is judged by what its position says, whoever is first."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.schemas.subscription import Definition, Record
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read import followed_topic, settled_ends
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import followed_writer
from annals.workers.publishing import service as services
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.subscriptions_topic import FollowedSubscriptions, SubscriptionsWriter, read_known
from annals.workers.settings import Settings
from chained import chain
from networks import Cut
from publishing import World

NAMES = TopicNames("")
BEFORE, AFTER = (Record(Definition("all", types=[name], start="beginning"), 1, {}) for name in ("Before", "After"))


@pytest.fixture
def world():
    made = World()
    topics = ["subscriptions", "progress", "subscribers.all", *(f"events.{kind}" for kind in REGISTRY)]
    made.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
    return made


@asynccontextmanager
async def following(world, network=None):
    followed = FollowedSubscriptions(world.options(network), NAMES)
    task = asyncio.create_task(followed.run())
    try:
        await followed.until_read()
        yield followed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def changing(world):
    """A change that is being written: what tells that it is, what lets it go on, and its task."""
    writer = SubscriptionsWriter(world.options(), NAMES, "annals.publish")
    await writer.fence()
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def further():
        has_begun.set()
        await may_end.wait()
        return AFTER

    task = asyncio.create_task(writer.commit(BEFORE, {}, (), further))
    await has_begun.wait()
    try:
        yield may_end, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.close()


@pytest.fixture
async def known(world):
    writer = SubscriptionsWriter(world.options(), NAMES, "annals.publish")
    await writer.fence()
    await writer.commit(BEFORE, {})
    await writer.close()


async def test_an_event_that_comes_while_a_change_is_made_is_before_it(world, monkeypatch):
    """Goes red when the ends of the journals are read before those who publish wait for the change."""

    async def recording(*_, **__):
        (event,) = chain("p-1", 1)
        world.model.append(("events.person", 0), event.key, event.value)

    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    monkeypatch.setattr(services, "create_missing", recording)
    etag = (await service.put("all", {"kinds": ["person"], "start": "now"})).etag
    await service.put("all", {"kinds": ["person"], "types": ["PersonRenamed"]}, etag)
    client = await connect(world.options(), [])
    record = (await read_known(client, NAMES, CompactedViews()))["all"].record
    await client.close()
    assert [(each.definition.types, each.until["person"]) for each in record.former] == [([], [2])]


async def test_who_asks_what_is_current_waits_for_a_change_that_is_being_written(world, known):
    async with following(world) as followed, changing(world) as (may_end, writing):
        asking = asyncio.create_task(followed.until_current())
        await asyncio.sleep(0.1)
        assert not asking.done()
        may_end.set()
        await writing
        await asking
        assert followed.all()["all"].record == AFTER


async def test_who_asks_for_a_subscription_is_told_what_is_committed(world, known, monkeypatch):
    """Goes red when it waits for the change of an administrator that was killed: until the brokers end it."""
    monkeypatch.setattr(settled_ends, "SETTLED_WITHIN_S", 0.0)
    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    async with changing(world) as (may_end, writing):
        assert (await service.get("all")).body["types"] == BEFORE.definition.types
        may_end.set()
        await writing
    assert (await service.get("all")).body["types"] == AFTER.definition.types


async def test_what_was_answered_is_current_at_once(world, known, monkeypatch):
    monkeypatch.setattr("annals.workers.publishing.subscriptions_topic.LOOK_S", 3_600.0)
    async with following(world) as followed:
        assert followed.all()["all"].record == BEFORE
        async with changing(world) as (may_end, writing):
            may_end.set()
            await writing
        await asyncio.gather(followed.until_current(), followed.until_current())
        assert followed.all()["all"].record == AFTER


async def test_a_change_whose_writer_died_is_waited_for_once_and_not_longer_than_it_may_take(world, known, monkeypatch):
    monkeypatch.setattr(followed_topic, "WRITTEN_WITHIN_S", 0.05)
    async with following(world) as followed, changing(world):
        await followed.until_current()
        monkeypatch.setattr(followed_topic, "WRITTEN_WITHIN_S", 3_600.0)
        async with asyncio.timeout(30):
            await followed.until_current()
        assert followed.all()["all"].record == BEFORE


async def test_where_the_topic_cannot_be_read_what_was_known_holds(world, known, monkeypatch):
    monkeypatch.setattr(followed_topic, "HOLDS_S", 0.05)
    network = Cut()
    async with following(world, network) as followed:
        network.is_down = True
        async with asyncio.timeout(30):
            await followed.until_current()
        assert followed.all()["all"].record == BEFORE


async def test_a_change_that_takes_longer_than_others_wait_is_not_made(world, monkeypatch):
    async def nothing(*_, **__):
        """The topics are there."""

    monkeypatch.setattr(services, "create_missing", nothing)
    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    etag = (await service.put("all", {"kinds": ["person"]})).etag
    world.model.append(("events.person", 0), b"p-1", b"it is not published yet")
    with monkeypatch.context() as patched:
        patched.setattr(followed_writer, "CHANGED_WITHIN_S", -1.0)
        with pytest.raises(Refused) as refused:
            await service.put("all", {"kinds": ["person"], "types": ["PersonRenamed"]}, etag)
    assert refused.value.status == 503
    assert (await service.get("all")).body["types"] == []
    assert (await service.put("all", {"kinds": ["person"], "types": ["PersonRenamed"]}, etag)).body["types"]
