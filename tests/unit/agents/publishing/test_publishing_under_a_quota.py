"""Transactions of readers that outlast their time are halved, down to one record, and waits are told."""

import asyncio

import structlog

from annals.agents.pace import Pace
from annals.agents.ports import OutlastedError
from annals.schemas.progress import Progress
from annals.workers.kafka.write.transaction import TransactionalWriter
from chained import chain
from following import Clock
from publishing import Taker, World, eventually, progress_of, shown
from reactors import ReactingWorld

EVENTS = [event for number in range(40) for event in chain(f"p-{number:02}", 1)]


FOR_OTHERS = ("subscribers.", "commands.", "parked.", "acks.")


class Quota:
    """Brokers that let no transaction through that has more than so many records for some topics."""

    def __init__(self, monkeypatch, others=FOR_OTHERS, most=1):
        self.tried, self._most = [], most
        commit = TransactionalWriter.commit

        async def limited(writer, batches, offsets, expected):
            count = max(
                (sum(batch.count for batch in of) for (topic, _), of in batches.items() if topic.startswith(others)),
                default=0,
            )
            if count:
                self.tried.append(count)
            if count > most:
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
        refused = [one for one in self.tried if one > self._most]
        return bool(refused) and self.tried[-1] <= self._most and len(refused) < 15


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
    monkeypatch.setattr("annals.agents.publishing.publisher.RUN_EVENTS", 10)
    world = World("all", "late")
    await world.subscribe("all")
    world.journal.append(EVENTS)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", 40))
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


async def is_told(running, who):
    """A quota is a reason while there is something to do, and a wait for it holds no rebalance up."""

    async def is_so():
        return "the brokers throttle this worker's writes for 100 s" in (running.problem or "")

    await eventually(is_so)
    assert running.problem.startswith(f"{who} slowly: ")
    await running.suspend()


async def test_a_publisher_says_that_a_quota_has_it_wait(monkeypatch):
    world = World("all")
    world.journal.append(EVENTS)
    await world.subscribe("all")
    monkeypatch.setattr(TransactionalWriter, "throttled_s", property(lambda _: 100.0))
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await is_told(publisher, "person-0 is published")


async def test_a_reactor_says_that_a_quota_has_it_wait(monkeypatch):
    world = ReactingWorld()
    world.append(EVENTS)
    await world.begin()
    monkeypatch.setattr(TransactionalWriter, "throttled_s", property(lambda _: 100.0))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await is_told(reactor, "counting in person-0 reacts")


async def test_two_that_wait_at_once_leave_no_trouble_behind(monkeypatch):
    monkeypatch.setattr("annals.agents.pace.SAID_FROM_S", 0.0)
    pace = Pace(Clock(), structlog.get_logger(), 10)
    stopping = asyncio.Event()
    first = asyncio.create_task(pace.obey(0.01))
    second = asyncio.create_task(pace.obey(1_000.0, stopping))
    await first
    assert pace.trouble
    stopping.set()
    await second
    assert not pace.trouble


async def test_rows_of_an_older_version_are_removed_as_many_at_a_time_as_may_be(monkeypatch):
    """A new version begins without them; before they are gone it reacts to nothing, also after a death."""
    world = ReactingWorld()
    world.journal.append(EVENTS)
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard):
            await eventually(lambda: world.has(len(EVENTS)))
        quota = Quota(monkeypatch, ("timers.",), 2)  # an event has a state and a timer
        async with world.reactor(shard, version=2):
            await eventually(lambda: has_rows_below(world, 60))
        async with world.reactor(shard, version=2):
            await eventually(lambda: is_version(world, 2, len(EVENTS)))
            world.journal.append(chain("new", 1))
            await eventually(lambda: world.has(len(EVENTS) + 1))
    assert quota.halved()
    assert await rows_of(world) == 2 * len(EVENTS) + 2, "those of the new version alone"
    assert len(set(await world.sent())) == len(await world.sent()) == len(EVENTS) + 1


async def rows_of(world):
    return sum(map(bool, dict(await world.committed("timers.counting")).values()))


async def has_rows_below(world, count):
    return await rows_of(world) < count


async def is_version(world, version, position):
    progress = await world.progress()
    return (progress.version, progress.position) == (version, position)


NAMES = [f"s-{number:02}" for number in range(40)]


async def test_those_that_are_paused_at_once_leave_as_many_at_a_time_as_may_be(monkeypatch):
    """What comes meanwhile is published to them when they are resumed, and to the others at once."""
    world = World("stays", *NAMES)
    for name in ("stays", *NAMES):
        await world.subscribe(name)
    world.journal.append(EVENTS[:2])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: are_live(world, 2))
        quota = Quota(monkeypatch, ("progress",), 8)
        for name in NAMES:
            world.subscriptions.set(name, definition={"status": "paused"})
        world.journal.append(EVENTS[2:4])
        await eventually(lambda: has(world, "stays", 4))
        assert {len(await world.cids(name)) for name in NAMES} == {2}
        assert publisher.phase == "publishing"
        for name in NAMES:
            world.subscriptions.set(name, definition={"status": "active"})
        for name in NAMES:
            await eventually(lambda name=name: has(world, name, 4))
    assert quota.halved()
    assert {tuple(await world.cids(name)) for name in NAMES} == {tuple(shown(EVENTS[:4]))}


async def are_live(world, count):
    progress = await progress_of(world)
    return set(progress) == {"live"} and all([await has(world, name, count) for name in NAMES])


async def test_those_that_stand_elsewhere_in_a_restored_journal_are_moved_as_many_at_a_time_as_may_be(monkeypatch):
    world = World("stays", *NAMES)
    for event in EVENTS[:4]:
        world.journal.append([event])
        world.journal.mark()
    await world.subscribe("stays")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "stays", 4))
    for name in NAMES:
        await world.write_progress(name, Progress(4, EVENTS[1].cid, 1))
        world.subscriptions.set(name, definition={"status": "paused"}, begin={"person": [0]})
    world.journal.records.clear()
    world.journal.append(EVENTS[:6])
    quota = Quota(monkeypatch, ("progress",), 8)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "stays", 6))
    assert quota.halved()
    assert await world.cids("stays") == shown(EVENTS[:6])
    assert {(await progress_of(world))[name]["position"] for name in NAMES} == {2}
