"""A journal that was restored from a copy of its records: offsets are others, and publishing goes on by events."""

import pytest

from annals.schemas.progress import Progress
from annals.schemas.subscription import Former, Retry
from chained import chain
from following import until
from publishing import Taker, World, answer, eventually, progress_of, shown

BEFORE, ALL = 6, 12
RETRY = Retry(max_attempts=2, first_delay_ms=1, max_delay_ms=2, ack_timeout_ms=60_000)


def restore(world, events):
    """Have the journal be a copy of its records: without the markers, so that nearly all stand elsewhere."""
    world.journal.records.clear()
    world.journal.append(events)


def write_one_by_one(world, events):
    """Write each event in a transaction of its own, with its marker."""
    for event in events:
        world.journal.append([event])
        world.journal.mark()


async def has(world, name, count):
    return len(await world.received(name)) >= count


@pytest.mark.parametrize("grown_by", [0, 1, ALL - BEFORE], ids=["shorter", "shorter and grown", "as long"])
async def test_what_is_live_goes_on_behind_the_event_that_was_published_last(grown_by):
    world, events = World("all"), chain("p-1", ALL)
    write_one_by_one(world, events[:BEFORE])
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", BEFORE))
    restore(world, events[: BEFORE + grown_by])
    async with world.shard() as shard, world.publisher(shard):
        await until(lambda: shard.status().reached)
        world.journal.append(events[BEFORE + grown_by :])
        await eventually(lambda: has(world, "all", ALL))
        await eventually(lambda: is_at(world, "live", ALL))
    assert await world.cids("all") == shown(events)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "publishing")
        assert publisher.position == ALL
    assert await world.cids("all") == shown(events)


async def is_at(world, name, position):
    return (await progress_of(world)).get(name, {}).get("position") == position


async def test_what_was_not_settled_comes_again_and_what_was_settled_does_not():
    world, events = World("all"), chain("p-1", ALL)
    write_one_by_one(world, events[:BEFORE])
    await world.subscribe("all", delivery="acknowledged", ordered=False, retry=RETRY)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", BEFORE))
        for record in (await world.received("all"))[: BEFORE - 1]:
            await answer(world, record)
        await eventually(lambda: is_settled(world, 1))
    restore(world, events)
    async with world.shard() as shard, world.publisher(shard):
        await answer(world, (await world.received("all"))[-1], "nack")
        taker = Taker(world)
        taker.taken = BEFORE
        await eventually(lambda: takes(taker, ALL + 1))
        await eventually(lambda: is_settled(world, 0))
    received = [
        (headers["ce_id"].decode(), headers.get("ce_redelivery")) for _, _, headers in await world.received("all")
    ]
    assert sorted(received[BEFORE:], key=str) == sorted(
        [(cid, None) for cid in shown(events[BEFORE:])] + [(shown(events)[BEFORE - 1], b"2")], key=str
    )


async def takes(taker, count):
    return await taker.take() >= count


async def is_settled(world, left):
    rows = {key: value for key, value, _ in await world.received("all", "deliveries")}
    return sum(map(bool, rows.values())) == left


@pytest.mark.parametrize("is_paused", [False, True], ids=["running", "paused"])
async def test_one_that_is_behind_goes_on_behind_its_own_last_event(is_paused):
    world, events = World("all", "late"), chain("p-1", ALL)
    write_one_by_one(world, events[:BEFORE])
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", BEFORE))
    await world.write_progress("late", Progress(2 * 2, events[1].cid, 1))  # it has had two
    world.subscriptions.set("late", begin={"person": [0]}, definition={"status": "paused" if is_paused else "active"})
    restore(world, events)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", ALL))
        if is_paused:
            await eventually(lambda: is_at(world, "late", 2))
            world.subscriptions.set("late", definition={"status": "active"})
        await eventually(lambda: has(world, "late", ALL - 2))
    assert await world.cids("late") == shown(events[2:])
    assert await world.cids("all") == shown(events)


async def test_where_one_stood_that_no_event_tells_nothing_is_published_before_somebody_decides():
    world, events = World("all", "late"), chain("p-1", ALL)
    write_one_by_one(world, events[:BEFORE])
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", BEFORE))
    await world.subscribe("late", 4)
    restore(world, events)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "stopped")
        assert "person-0: the journal was restored from a copy" in publisher.problem
        assert "late" in publisher.problem
        assert "delete" in publisher.problem
    world.subscriptions.set("late", is_deleted=True)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", ALL))
    assert await world.cids("all") == shown(events)
    assert await world.cids("late") == []


async def test_filters_that_changed_at_an_offset_that_is_another_one_now_are_not_guessed():
    world, events = World("all"), chain("p-1", ALL)
    write_one_by_one(world, events[:BEFORE])
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", BEFORE))
    definition = world.subscriptions.all()["all"].record.definition
    world.subscriptions.set("all", former=[Former(definition, {"person": [2 * BEFORE]})])
    restore(world, events)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "stopped")
        assert f"offset {2 * BEFORE}, up to which the subscription all had other filters" in publisher.problem


async def test_a_copy_that_lacks_what_was_published_is_another_journal():
    world, events = World("all"), chain("p-1", ALL)
    write_one_by_one(world, events[:BEFORE])
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", BEFORE))
    restore(world, events[: BEFORE - 1])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "stopped")
        assert f"ends at {BEFORE - 1}: it lost its end" in publisher.problem
    assert await world.cids("all") == shown(events[:BEFORE])
