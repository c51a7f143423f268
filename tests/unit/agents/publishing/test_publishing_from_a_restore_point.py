"""A partition's new owner without a store publishes, delivers and reacts before its reading shard has read anything."""

import asyncio

import pytest

from annals.schemas.subscription import Retry
from chained import chain
from following import until
from head_starts import HeldJournal, Point, head_start
from publishing import World, answer, at_each_step, eventually, shown
from reading_stores import Stores

ADA, BOB = chain("p-1", 8), chain("p-2", 6)
EVENTS = [event for pair in zip(ADA[:6], BOB, strict=True) for event in pair]
MORE = ADA[6:]
RETRY = Retry(max_attempts=3, first_delay_ms=1, max_delay_ms=2, ack_timeout_ms=60_000)


async def has(world, name, count, role="subscribers"):
    return len(await world.received(name, role)) >= count


def held_world(*names, events=EVENTS):
    world = World(*names)
    world.journal = HeldJournal(events)
    return world


def moved(world):
    """Another owner's: without a store, and with a shard that gets nothing yet."""
    world.stores = Stores()
    world.journal.held_at = 0


async def publish_some(world, name, count):
    """Have an owner with the whole journal publish, and end."""
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, name, count))
        await until(lambda: publisher.position >= len(world.journal.records))


@pytest.mark.parametrize("position", [4, 12, 14], ids=["before the progress", "at it", "behind it"])
async def test_what_comes_next_is_published_while_the_shard_has_read_nothing(position):
    world = held_world("all")
    await world.subscribe("all")
    await publish_some(world, "all", 12)
    moved(world)
    world.journal.append(MORE)
    point = Point(world.journal.records, position)
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, point, margin=1) as ahead,
        world.publisher(ahead),
    ):
        await eventually(lambda: has(world, "all", 14))
        assert shard.status().offset == 0
        world.journal.release()
        await until(lambda: ahead.is_whole)
        world.journal.append(chain("p-3", 1))
        await eventually(lambda: has(world, "all", 15))
    assert await world.cids("all") == shown([*EVENTS, *MORE, *chain("p-3", 1)])


async def test_without_a_restore_point_nothing_is_published_before_the_journal_is_read():
    world = held_world("all")
    await world.subscribe("all")
    await publish_some(world, "all", 12)
    moved(world)
    world.journal.append(MORE)
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, Point(world.journal.records, None)) as ahead,
        world.publisher(ahead),
    ):
        await until(lambda: "none has been made" in (ahead.problem or ""))
        assert not await has(world, "all", 13)
        world.journal.release()
        await eventually(lambda: has(world, "all", 14))
        assert ahead.problem is None
    assert await world.cids("all") == shown([*EVENTS, *MORE])


async def test_one_that_is_far_behind_waits_for_the_shard_and_the_others_do_not():
    world = held_world("one", "late")
    await world.subscribe("one")
    await publish_some(world, "one", 12)
    await world.subscribe("late")
    moved(world)
    world.journal.append(MORE)
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, Point(world.journal.records, 14), most=4, margin=1) as ahead,
        world.publisher(ahead),
    ):
        await eventually(lambda: has(world, "one", 14))
        assert not await has(world, "late", 1)
        world.journal.release()
        await eventually(lambda: has(world, "late", 14))
    assert await world.cids("late") == await world.cids("one") == shown([*EVENTS, *MORE])


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_the_new_owner_dies_nothing_is_lost_or_doubled(is_carried_out, monkeypatch):
    """Killed at each request in turn, from a restore point behind the progress; the next owner begins there as well."""
    monkeypatch.setattr("annals.agents.publishing.publisher.RUN_EVENTS", 2)
    monkeypatch.setattr("annals.agents.publishing.joining.RUN_EVENTS", 2)
    await at_each_step(killed_at, is_carried_out=is_carried_out, more_than=10)


async def killed_at(step, *, is_carried_out):
    world = held_world("all")
    await world.subscribe("all")
    await publish_some(world, "all", 12)
    moved(world)
    world.journal.append(MORE)
    world.journal.append(chain("p-3", 3))
    point = Point(world.journal.records, 15)

    async def is_over():
        return world.network.died.is_set() or await has(world, "all", 17)

    world.die_at(step, is_carried_out=is_carried_out)
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, point, margin=2) as ahead,
        world.publisher(ahead),
    ):
        await eventually(is_over)
    has_died = world.next_process()
    moved(world)
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, point, margin=2) as ahead,
        world.publisher(ahead),
    ):
        await eventually(lambda: has(world, "all", 17))
        assert shard.status().offset == 0
        world.journal.release()
        await until(lambda: ahead.is_whole)
        world.journal.append(chain("p-4", 1))
        await eventually(lambda: has(world, "all", 18))
    assert await world.cids("all") == shown([*EVENTS, *MORE, *chain("p-3", 3), *chain("p-4", 1)]), step
    return has_died


async def test_what_is_not_settled_comes_again_and_goes_on_where_that_is_known():
    """The row of an event before the head start names its place in the journal; what follows it may be older, too."""
    world = held_world("all", events=[*ADA[:3], *BOB[:2], *MORE[:0]])
    await world.subscribe("all", delivery="acknowledged", retry=RETRY)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", 2))  # the first of each; the others wait
        await until(lambda: world.counts.lags.get("all") == 0)

        async def has_progress():
            return await stands_at(world) == 5

        await eventually(has_progress)
    moved(world)
    world.journal.append([*BOB[2:3], *ADA[3:4]])
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, Point(world.journal.records, 4), margin=1) as ahead,
        world.publisher(ahead),
    ):
        await until(lambda: not ahead.is_whole)
        ada, bob = await world.received("all")
        await answer(world, bob, "nack", delay_ms=0)
        await eventually(lambda: has(world, "all", 3))
        again = (await world.received("all"))[2]
        assert (again[:2], again[2]["ce_redelivery"]) == (bob[:2], b"2")
        await answer(world, ada)  # what follows it is before the head start
        await answer(world, again)  # what follows it is in it
        await eventually(lambda: has(world, "all", 4))
        assert shard.status().offset == 0
        assert (await world.cids("all"))[3] == shown(BOB[1:2])[0]
        world.journal.release()
        await eventually(lambda: has(world, "all", 5))
        while len(await world.received("all")) < 8:
            for record in await world.received("all"):
                await answer(world, record)
            await asyncio.sleep(0)
    cids = await world.cids("all")
    assert [cid for cid in cids if cid in shown(ADA)] == shown(ADA[:4])
    assert [cid for cid in cids if cid in shown(BOB)] == shown([BOB[0], *BOB[:3]])


async def stands_at(world):
    from annals.schemas.progress import decode_progress

    found = [value for key, value, _ in await world.received("", "progress") if key.startswith(b"all/")]
    return decode_progress(found[-1]).position if found and found[-1] else -1
