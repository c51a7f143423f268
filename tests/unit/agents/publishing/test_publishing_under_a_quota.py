"""Transactions of readers that outlast their time are halved, down to one record, and waits are told."""

import asyncio

import structlog

from annals.agents.pace import Pace
from annals.agents.ports import OutlastedError
from annals.workers.kafka.write.transaction import TransactionalWriter
from chained import chain
from publishing import Taker, World, eventually, shown
from reactors import ReactingWorld

EVENTS = [event for number in range(40) for event in chain(f"p-{number:02}", 1)]


class Quota:
    """Brokers that let no transaction through that has more than one record for any other."""

    def __init__(self, monkeypatch):
        self.tried = []
        commit = TransactionalWriter.commit

        async def limited(writer, batches, offsets, expected):
            others = ("subscribers.", "commands.", "parked.", "acks.")
            count = max(
                (sum(batch.count for batch in of) for (topic, _), of in batches.items() if topic.startswith(others)),
                default=0,
            )
            if count:
                self.tried.append(count)
            if count > 1:
                writer._producer_id = -1
                raise OutlastedError("a quota has the brokers wait for 100 s in the middle")
            await commit(writer, batches, offsets, expected)

        monkeypatch.setattr(TransactionalWriter, "commit", limited)
        for module in ("publisher", "catch_up", "delivering.shard"):
            monkeypatch.setattr(f"annals.agents.publishing.{module}.FIRST_RETRY_S", 0.001)
            monkeypatch.setattr(f"annals.agents.publishing.{module}.LAST_RETRY_S", 0.001)
        monkeypatch.setattr("annals.agents.reacting.reactor.FIRST_RETRY_S", 0.001)
        monkeypatch.setattr("annals.agents.reacting.reactor.LAST_RETRY_S", 0.001)
        monkeypatch.setattr("annals.agents.pace.QUICK_S", -1.0)  # batches stay as small as they are

    def halved(self):
        """Whether each that was refused was followed by smaller ones, to the smallest."""
        return max(self.tried) > 1 and self.tried[-1] == 1 and len([one for one in self.tried if one > 1]) < 15


async def has(world, name, count):
    return len(await world.cids(name)) >= count


async def test_what_is_live_is_halved_to_one_event_each_once(monkeypatch):
    world, quota = World("all"), Quota(monkeypatch)
    await world.subscribe("all")
    world.journal.append(EVENTS)
    async with world.shard() as shard:
        assert await shard.until_offset(len(EVENTS), float("inf"))
        async with world.publisher(shard):
            await eventually(lambda: has(world, "all", 40))
    assert await world.cids("all") == shown(EVENTS)
    assert quota.halved()


async def test_a_catch_up_is_halved_and_joins_what_is_live_each_event_once(monkeypatch):
    world = World("all", "late")
    await world.subscribe("all")
    world.journal.append(EVENTS)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, "all", 40))
        monkeypatch.setattr(publisher._pace, "_full", 10)
        publisher._pace.most = 10
        quota = Quota(monkeypatch)
        await world.subscribe("late")
        await eventually(lambda: has(world, "late", 40))
        world.journal.append(later := chain("q-1", 1))
        await eventually(lambda: has(world, "all", 41))
        await eventually(lambda: has(world, "late", 41))
    assert await world.cids("late") == shown([*EVENTS, *later])
    assert max(quota.tried) > 1


async def test_deliveries_are_halved_to_one_record(monkeypatch):
    world, quota = World("all"), Quota(monkeypatch)
    await world.subscribe("all", delivery="acknowledged")
    world.journal.append(EVENTS)
    taker = Taker(world)

    async def taken():
        return await taker.take() >= 40

    async with world.shard() as shard, world.publisher(shard):
        assert await shard.until_offset(len(EVENTS), float("inf"))
        await eventually(taken)
    assert sorted(await world.cids("all")) == sorted(shown(EVENTS))
    assert max(quota.tried) > 1


async def test_reactions_are_halved_to_one_command(monkeypatch):
    world, quota = ReactingWorld(), Quota(monkeypatch)
    world.append(EVENTS)
    await world.begin()
    async with world.shard() as shard:
        assert await shard.until_offset(len(EVENTS), float("inf"))
        async with world.reactor(shard):
            await eventually(lambda: world.has(40))
    ids = [identity for _, identity in await world.sent()]
    assert len(ids) == len(set(ids)) == 40
    assert quota.halved()


async def is_told(running, how):
    """A quota is a reason while there is something to do, and a wait for it holds no rebalance up."""

    async def is_so():
        return "the brokers throttle this worker's writes for 100 s" in (running.problem or "")

    await eventually(is_so)
    assert running.problem.startswith(f"{running._name} {how} slowly: ")
    await running.suspend()


async def test_a_publisher_says_that_a_quota_has_it_wait(monkeypatch):
    world = World("all")
    world.journal.append(EVENTS)
    await world.subscribe("all")
    monkeypatch.setattr(TransactionalWriter, "throttled_s", property(lambda _: 100.0))
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await is_told(publisher, "is published")


async def test_a_reactor_says_that_a_quota_has_it_wait(monkeypatch):
    world = ReactingWorld()
    world.append(EVENTS)
    await world.begin()
    monkeypatch.setattr(TransactionalWriter, "throttled_s", property(lambda _: 100.0))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await is_told(reactor, "reacts")


async def test_two_that_wait_at_once_leave_no_trouble_behind(monkeypatch):
    monkeypatch.setattr("annals.agents.pace.SAID_FROM_S", 0.0)
    pace = Pace(structlog.get_logger(), 10)
    stopping = asyncio.Event()
    first = asyncio.create_task(pace.obey(0.01))
    second = asyncio.create_task(pace.obey(1_000.0, stopping))
    await first
    assert pace.trouble
    stopping.set()
    await second
    assert not pace.trouble
