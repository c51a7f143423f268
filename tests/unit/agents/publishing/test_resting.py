"""Subscriptions that answer and have nothing to do: they cost what idle streams cost, and miss nothing."""

from collections import Counter

import pytest

from annals.agents.ports import OutlastedError
from annals.agents.publishing.delivering import shard as delivering
from annals.agents.publishing.joining import Joining
from annals.schemas.progress import Progress
from annals.schemas.subscription import Retry
from chained import chain
from publishing import Taker, World, answer, at_each_step, eventually, progress_of, shown

RETRY = Retry(max_attempts=2, first_delay_ms=1, max_delay_ms=2, ack_timeout_ms=60_000)
ARCHIVED = ("PersonArchived",)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(delivering, "REST_S", 0.0)
    monkeypatch.setattr(delivering, "IDLE_COMMIT_S", 0.02)
    monkeypatch.setattr("annals.agents.publishing.joining.ANSWERS_LOOK_S", 0.02)
    monkeypatch.setattr("annals.agents.publishing.publisher.LOOK_S", 0.02)


def of(aggregate_id):
    return {"exact": {"subject": aggregate_id}}


async def rests(world, *names):
    progress = await progress_of(world)
    return all(progress.get(name, {}).get("resting") for name in names)


async def is_awake(world, name):
    return not await rests(world, name)


async def has(world, count, name="all"):
    return len(await world.received(name)) >= count


def count_reads(monkeypatch, shard):
    """How often events are read from now on, by the offset that they are read from."""
    read = Counter()
    original = shard.events_from

    async def events_from(offset, limit):
        read[offset] += 1
        return await original(offset, limit)

    monkeypatch.setattr(shard, "events_from", events_from)
    return read


async def test_idle_ones_read_and_write_nothing_of_their_own(monkeypatch):
    names = [f"idle-{number}" for number in range(20)]
    world = World("all", *names)
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all")
    for name in names:
        await world.subscribe(name, delivery="acknowledged", types=ARCHIVED, retry=RETRY)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: rests(world, *names))
        read = count_reads(monkeypatch, shard)
        written = len(await world.received("", "progress"))
        for number in range(2, 12):
            world.journal.append(chain(f"p-{number}", 1))
            await eventually(lambda number=number: has(world, number))
        await eventually(lambda: is_at(world, 11))
        assert max(read.values()) <= 3, "for all at once: before an event is there, with it, and at the end"
        assert len(await world.received("", "progress")) - written <= 11, "what is live, and nothing of idle ones"
        assert {world.counts.lags[name] for name in names} == {0}
        assert {world.counts.numbers[name] for name in names} == {(0, 0, 0)}


async def test_those_that_are_far_behind_have_the_journal_read_once_for_all(monkeypatch):
    monkeypatch.setattr("annals.agents.publishing.joining.RUN_EVENTS", 10)
    monkeypatch.setattr("annals.agents.publishing.delivering.loading.RUN_EVENTS", 10)
    monkeypatch.setattr("annals.agents.reading.keeping.recent_events.MOST_EVENTS", 0)  # what is far behind is not there
    names = [f"idle-{number}" for number in range(10)]
    world = World("live", "all", *names)
    await world.subscribe("live")
    events = [event for number in range(300) for event in chain(f"p-{number}", 1)]
    world.journal.append(events)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 300, "live"))
        read = count_reads(monkeypatch, shard)
        for name in names:
            await world.subscribe(name, delivery="acknowledged", types=ARCHIVED, retry=RETRY)
        await world.subscribe("all", delivery="acknowledged", filters=(of("p-150"),), retry=RETRY)
        await eventually(lambda: rests(world, *names))
        await eventually(lambda: has(world, 1))
        await answer(world, (await world.received("all"))[0])
        await eventually(lambda: rests(world, "all", *names))
        assert sum(read.values()) < 4 * 30 + 5 * len(names), "and each once more at its beginning and end"
    assert await world.cids("all") == shown(events[150:151])


async def test_what_is_far_behind_is_looked_at_in_the_share_of_all_that_catches_up(monkeypatch):
    """Goes red when a step looks at more than its own run of the journal for those that come to rest.

    However much there was to look at, what is live waited for it at each step: it was no third of the process's time.
    """
    monkeypatch.setattr("annals.agents.publishing.joining.RUN_EVENTS", 10)
    monkeypatch.setattr("annals.agents.publishing.delivering.loading.RUN_EVENTS", 10)
    monkeypatch.setattr("annals.agents.reading.keeping.recent_events.MOST_EVENTS", 0)
    world = World("live", "idle")
    await world.subscribe("live")
    world.journal.append([event for number in range(200) for event in chain(f"p-{number}", 1)])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, 200, "live"))
        share = publisher._share
        async with share._lock:  # somebody else catches up
            await world.subscribe("idle", delivery="acknowledged", types=ARCHIVED, retry=RETRY)
            await eventually(lambda: has_task(publisher))
            read = count_reads(monkeypatch, shard)
            for number in range(200, 210):
                world.journal.append(chain(f"p-{number}", 1))
                await eventually(lambda number=number: has(world, number + 1, "live"))
            assert not [offset for offset in read if offset < 200]
            assert await is_awake(world, "idle")
        await eventually(lambda: rests(world, "idle"))
        assert len([offset for offset in read if offset < 200]) >= 18


async def has_task(publisher):
    return bool(publisher._joining.tasks())


async def is_at(world, position):
    return (await progress_of(world))["live"]["position"] >= position


async def test_slow_batches_of_the_live_writer_are_told_while_it_has_something_to_write():
    """Goes red when one with a row counts as left to publish, or one that is closed tells it.

    After a freeze a worker would not be ready for as long as something is parked and no event comes, or, where its
    partitions went to others meanwhile, until one comes back.
    """
    world = World("all")
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", delivery="acknowledged", retry=RETRY)
    async with world.shard() as shard:
        async with world.publisher(shard) as publisher:
            await eventually(lambda: has(world, 1))
            await eventually(lambda: has_published(publisher, 1))
            publisher._pace.failed(5, OutlastedError("it took too long"))
            assert publisher._pace.trouble
            assert publisher.problem is None
            await publisher.suspend()
            world.journal.append(chain("p-2", 1))
            await eventually(lambda: tells(publisher))
        assert publisher.problem is None, "the partition has moved, and somebody else publishes it"


async def has_published(publisher, position):
    return publisher.position == position


async def tells(publisher):
    return "is published slowly: a batch of 5 events" in (publisher.problem or "")


async def test_what_comes_while_it_rests_is_delivered_once_and_it_rests_again():
    world = World("all")
    await world.subscribe("all", delivery="acknowledged", retry=RETRY)
    events = chain("p-1", 3)
    async with world.shard() as shard, world.publisher(shard):
        for number, event in enumerate(events, 1):
            await eventually(lambda: rests(world, "all"))
            world.journal.append([event])
            await eventually(lambda number=number: has(world, number))
            assert await is_awake(world, "all")
            await answer(world, (await world.received("all"))[-1])
        await eventually(lambda: rests(world, "all"))
        assert (await progress_of(world))["all"]["acks"] == world.model.logs["acks.all", 0].stable
    assert await world.cids("all") == shown(events)
    assert world.counts.results == {"taken": 3}, "no answer is read twice"


async def test_one_that_is_at_rest_begins_again_where_what_is_live_stands():
    world = World("all", "live")
    await world.subscribe("all", delivery="acknowledged", filters=(of("p-9"),), retry=RETRY)
    await world.subscribe("live")
    async with world.shard() as shard:
        async with world.publisher(shard):
            await eventually(lambda: rests(world, "all"))
            world.journal.append([event for number in range(5) for event in chain(f"p-{number}", 1)])
            await eventually(lambda: has(world, 5, "live"))
        world.counts.numbers.clear()
        async with world.publisher(shard):
            await eventually(lambda: is_told(world))
            assert await rests(world, "all")
            renamed = chain("p-9", 2)
            world.journal.append(renamed)
            await eventually(lambda: has(world, 1))
    assert await world.cids("all") == shown(renamed[:1])
    assert (await progress_of(world))["all"]["position"] >= 5


async def is_told(world):
    return world.counts.numbers.get("all") == (0, 0, 0)


async def test_where_nothing_was_live_yet_one_at_rest_begins_where_its_record_says():
    """What is live begins at the journal's end then: one that rested there would have passed what it wants."""
    world = World("all")
    events = chain("p-1", 2)
    world.journal.append(events)
    await world.subscribe("all", delivery="acknowledged", retry=RETRY)
    await world.write_progress("all", Progress(0, None, 1, is_resting=True))
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
    assert await world.cids("all") == shown(events[:1])


async def test_an_answer_that_comes_while_it_rests_is_read():
    world = World("all")
    await world.subscribe("all", delivery="acknowledged", types=ARCHIVED, retry=RETRY)
    world.journal.append(chain("p-1", 1))
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: rests(world, "all"))
        await world.send("acks.all", b"p-1", b"{")

        async def is_dead():
            return await world.received("", "dead-letters")

        await eventually(is_dead)
        await eventually(lambda: rests(world, "all"))
    assert len(await world.received("", "dead-letters")) == 1
    assert world.counts.results == {"bad": 1}


async def test_one_that_is_paused_at_rest_stays_where_what_is_live_stood():
    world = World("all", "live")
    await world.subscribe("all", delivery="acknowledged", retry=RETRY)
    await world.subscribe("live")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: rests(world, "all"))
        world.subscriptions.set("all", definition={"status": "paused"})
        await eventually(lambda: is_awake(world, "all"))
        events = chain("p-1", 2)
        world.journal.append(events)
        await eventually(lambda: has(world, 2, "live"))
        assert (await progress_of(world))["all"]["position"] == 0
        world.subscriptions.set("all", definition={"status": "active"})
        await eventually(lambda: has(world, 1))
    assert await world.cids("all") == shown(events[:1])


async def test_what_came_between_the_end_of_delivery_and_the_rest_is_delivered(monkeypatch):
    """The shard ends, and what is live is further by the time that the publisher hears of it."""
    world = World("all")
    await world.subscribe("all", delivery="acknowledged", retry=RETRY)
    events = chain("p-1", 1)
    original = Joining.resting
    ended = []

    async def late(self, roster, live):
        if not ended and self._catching.at_rest():
            ended.append(live)
            world.journal.append(events)
            await shard.until_offset(len(world.journal.records), 1e9)
        return await original(self, roster, live)

    monkeypatch.setattr(Joining, "resting", late)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
    assert ended
    assert await world.cids("all") == shown(events)


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_nothing_is_lost(is_carried_out, monkeypatch):
    monkeypatch.setattr("annals.agents.publishing.joining.ANSWERS_LOOK_S", 1e9)  # as many requests each time
    await at_each_step(killed_at, is_carried_out=is_carried_out, every=5)


async def killed_at(step, *, is_carried_out):
    """Kill the process at a request, between rests and deliveries; return whether it had come so far."""
    world = World("all")
    await world.subscribe("all", delivery="acknowledged", filters=(of("p-1"),), retry=RETRY)
    wanted, others = chain("p-1", 3), chain("p-2", 2)
    events = [others[0], wanted[0], others[1], *wanted[1:]]
    taker = Taker(world)

    async def until_all(count):
        async def is_so():
            taken = await taker.take()
            return world.network.died.is_set() or (taken >= count and await rests(world, "all"))

        await eventually(is_so)

    async def told(shard):
        for count, some in ((0, events[:1]), (0, events[1:3]), (1, events[3:])):
            if len(world.journal.records) < events.index(some[-1]) + 1:
                await until_all(count)
                world.journal.append(some)
        await until_all(3)

    world.die_at(step, is_carried_out=is_carried_out)
    async with world.shard() as shard:
        async with world.publisher(shard):
            await told(shard)
        has_died = world.next_process()
        async with world.publisher(shard):
            await told(shard)
    assert await world.cids("all") == shown(wanted), step
    return has_died


def test_a_progress_at_rest_is_as_far_as_what_is_live_or_further():
    own = Progress(7, None, 1, 3)
    assert own.reached_with(Progress(9)) == 7
    rest = Progress(7, None, 1, 3, is_resting=True)
    assert [rest.reached_with(live) for live in (None, Progress(3), Progress(9))] == [7, 7, 9]
