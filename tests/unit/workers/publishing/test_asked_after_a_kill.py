"""What is asked and decided while a killed reader's transaction is open: for half a minute, until others take over."""

import asyncio
from dataclasses import replace

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.schemas.progress import LIVE, Progress
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read import settled_ends
from annals.workers.kafka.read.settled_ends import OpenTransactionError
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import compacted_views
from annals.workers.publishing import service as services
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.service import SubscriptionService
from annals.workers.reacting.service import ReactionService
from annals.workers.settings import Settings
from publishing import World
from reactors import COUNTING

WISH = {"kinds": ["person"]}
ALLOWED_S = settled_ends.SETTLED_WITHIN_S
NEW = replace(COUNTING, name="new")


class Administered(World):
    """A cluster with topics, and what administers subscriptions and reactions in it."""

    def __init__(self):
        super().__init__()
        topics = ["subscriptions", "reactions", "progress", "subscribers.all", *(f"events.{kind}" for kind in REGISTRY)]
        self.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
        self.service = SubscriptionService(Settings(), self.options(), REGISTRY)
        self.reactions = ReactionService(Settings(), self.options(), {"counting": COUNTING, "new": NEW})


@pytest.fixture
async def world(monkeypatch):
    async def nothing(*_, **__):
        """The topics are there."""

    monkeypatch.setattr(services, "create_missing", nothing)
    made = Administered()
    await made.service.put("all", WISH)
    await made.reactions.resume("counting")
    await made.write_progress(LIVE, Progress(0))
    await made.leave_open(LIVE, Progress(7))
    log = made.model.logs["progress", 0]
    assert log.stable < log.end
    monkeypatch.setattr(settled_ends, "SETTLED_WITHIN_S", 0.0)
    return made


async def test_subscriptions_are_told_as_it_is_committed(world):
    """Goes red when whoever asks waits for the transaction: it was 503 or 504 for half a minute."""
    assert (await world.service.get("all")).body["positions"] == {"person": [0]}
    found, _ = await world.service.page()
    assert [each.body["name"] for each in found] == ["all"]


async def test_subscriptions_are_paused_resumed_and_deleted(world):
    """Goes red when nobody can pause one while a reader is away, which may be why."""
    assert (await world.service.pause("all")).body["status"] == "paused"
    resumed = await world.service.resume("all")
    assert resumed.body["status"] == "active"
    await world.service.delete("all", resumed.etag)
    assert await world.service.page() == ([], True)


async def test_a_subscription_that_there_never_was_begins_at_once(world):
    """Goes red when it waits for transactions that cannot say how far it is: it was 503 for half a minute."""
    made = await world.service.put("new", WISH)
    assert (made.is_new, made.body["positions"]) == (True, {"person": [0]})


async def test_a_subscription_is_changed_once_it_is_certain_how_far_it_is(world):
    etag = (await world.service.get("all")).etag
    with pytest.raises(Refused, match="a transaction has been open") as refused:
        await world.service.put("all", {**WISH, "types": ["PersonRenamed"]}, etag)
    assert refused.value.status == 503


async def test_all_who_wait_for_an_open_transaction_are_told_that_it_is_one(world):
    """Goes red when those who share the waiting of another one are told less: a change would wait once more."""
    client = await connect(world.options(), ["progress"])
    views = CompactedViews()
    asking = (views.rows(client, "progress", lambda _, value, __: value) for _ in range(3))
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in told] == [OpenTransactionError] * 3
    await client.close()


async def test_why_a_change_has_to_wait_is_told_before_its_request_has_taken_too_long(world, monkeypatch):
    """Goes red when it is waited for twice, or for as long as a request may take: 504, and nothing of why."""
    waits = []

    async def waited(*what):
        waits.append(what)
        return await settled_bounds(*what)

    settled_bounds = settled_ends.settled_bounds
    monkeypatch.setattr(compacted_views, "settled_bounds", waited)
    etag = (await world.service.get("all")).etag
    with pytest.raises(Refused, match="a transaction has been open"):
        await world.service.put("all", {**WISH, "types": ["PersonRenamed"]}, etag)
    of_progress = [1 for _, wheres in waits if wheres[0].topic == "progress"]
    assert sum(of_progress) * ALLOWED_S < Settings().api_timeout_s


async def test_while_a_change_waits_others_make_theirs(world, monkeypatch):
    """Goes red when it keeps the rest of its worker waiting, or those of others fence it again and again: 503."""
    monkeypatch.setattr(settled_ends, "SETTLED_WITHIN_S", 3_600.0)
    other_worker = SubscriptionService(Settings(), world.options(), REGISTRY)
    changing = asyncio.create_task(world.service.put("all", {**WISH, "types": ["PersonRenamed"]}, "*"))
    async with asyncio.timeout(30):
        for service in (world.service, other_worker) * 2:
            await asyncio.sleep(0.1)  # it has come to where it waits
            assert (await service.pause("all")).body["status"] == "paused"
            assert (await service.resume("all")).body["status"] == "active"
        assert not changing.done()
        await world.end_what_is_open()
        assert (await changing).body["types"] == ["PersonRenamed"]


async def test_reactions_are_told_and_paused(world):
    assert (await world.reactions.get("counting")).body["positions"] == {"person": [0]}
    assert [each.body["name"] for each in await world.reactions.all()] == ["counting", "new"]
    assert (await world.reactions.pause("counting")).body["status"] == "paused"


async def test_a_reaction_that_has_begun_everywhere_is_resumed(world):
    """Goes red when it waits for where it has begun, which is known: it was 503 for half a minute."""
    await world.reactions.pause("counting")
    resumed = await world.reactions.resume("counting")
    assert (resumed.body["status"], resumed.body["positions"]) == ("active", {"person": [0]})


async def test_a_reaction_that_nobody_has_resumed_begins_at_once(world):
    """Goes red when it waits for transactions that cannot say that it has begun: it was 503 for half a minute."""
    resumed = await world.reactions.resume("new")
    assert (resumed.body["status"], resumed.body["positions"]) == ("active", {"person": [0]})
    assert (await world.reactions.pause("new")).body["status"] == "paused"


async def test_a_reaction_that_was_resumed_begins_only_where_it_is_certain_that_it_has_not(world):
    """Goes red when its progress, which is behind the open transaction, is written once more."""
    await world.reactions.resume("new")
    with pytest.raises(Refused, match="a transaction has been open") as refused:
        await world.reactions.resume("new")
    assert refused.value.status == 503
