"""Markers that were passed are cut off, and events are written in their place, between two questions about a journal.

Whoever had passed them must not go on behind what is there now: those events would never come.
"""

import asyncio

import structlog

from annals.agents.aggregates import REGISTRY
from annals.agents.pace import Pace
from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.selection import Subscribed
from annals.agents.publishing.share import Share
from annals.agents.reading.following.history import run_behind
from annals.agents.reading.ports import NotIndexedError
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Record
from chained import chain
from following import Clock, soon, until
from publishing import Counts, Taker, World, eventually, shown
from reactors import ReactingWorld

BEFORE, PASSED, ALL = 3, 5, 12
EVENTS = chain("p-1", ALL)


class Cut:
    """A reading shard whose journal is cut and written on, just before it is asked for what comes at an offset."""

    def __init__(self, shard, journal):
        self._shard, self._journal, self.at = shard, journal, None

    def __getattr__(self, name):
        return getattr(self._shard, name)

    async def events_from(self, offset, limit):
        if offset == self.at:
            self.at = None
            del self._journal.records[BEFORE:]
            self._journal.append(EVENTS[BEFORE:])
            assert await self._shard.until_offset(ALL, soon())
        return await self._shard.events_from(offset, limit)


def write(world):
    """Write the first events, and behind them markers alone."""
    world.journal.append(EVENTS[:BEFORE])
    for _ in range(PASSED - BEFORE):
        world.journal.mark()


async def test_what_is_live_misses_none():
    world = World("all")
    write(world)
    await world.subscribe("all")
    async with world.shard() as shard:
        source = Cut(shard, world.journal)
        async with world.publisher(source) as publisher:
            await until(lambda: publisher.position == PASSED)
            source.at = PASSED
            await eventually(lambda: has(world, ALL))
            await until(lambda: publisher.position == ALL)
    assert await world.cids("all") == shown(EVENTS)


async def has(world, count):
    return len(await world.received("all")) >= count


async def test_what_is_delivered_misses_none():
    world = World("all")
    write(world)
    await world.subscribe("all", delivery="acknowledged")
    async with world.shard() as shard:
        source, taker = Cut(shard, world.journal), Taker(world)
        async with world.publisher(source) as publisher:
            await eventually(lambda: takes(taker, BEFORE))
            await until(lambda: publisher.position == PASSED)
            source.at = PASSED
            await eventually(lambda: takes(taker, ALL))
    assert await world.cids("all") == shown(EVENTS)


async def test_where_the_last_event_is_older_than_what_is_known_the_run_is_taken():
    """Goes red when who has a head start waits until the journal is read from its beginning, as behind much aborted."""
    world = World()
    write(world)
    world.journal.append(EVENTS[BEFORE:])
    progress = Progress(PASSED, EVENTS[BEFORE - 1].cid)

    class Started(Cut):
        """A head start, which knows no event before its beginning."""

        async def last_before(self, offset):
            raise NotIndexedError(f"what is before offset {offset} is not known")

    async with world.shard() as shard:
        assert await shard.until_offset(len(world.journal.records), soon())
        run = await run_behind(Started(shard, world.journal), "some", progress, 3)
    assert [event.cid for event in run.events] == [event.cid for event in EVENTS[BEFORE : BEFORE + 3]]


async def takes(taker, count):
    return await taker.take() >= count


async def test_what_catches_up_commits_nothing_behind_them():
    """Where it goes on then is found when the publisher opens again, whose own progress is not in its place either."""
    world = World()
    write(world)
    commits, fenced = [], []
    progress = Progress(PASSED, EVENTS[BEFORE - 1].cid, 1)

    class Log:
        """A writer (the `PublishLog` port)."""

        async def fence(self):
            fenced.append(source.at)

        async def progress(self):
            return {"some": progress}

        async def commit(self, writes):
            commits.append(writes)

        def throttled_s(self):
            return 0.0

        async def close(self):
            """Nothing is open."""

    subscribed = Subscribed(Kept(Record(Definition("some"), 1, {"person": [0]}), 0), "person", 0)
    async with world.shard() as shard:
        assert await shard.until_offset(PASSED, soon())
        source = Cut(shard, world.journal)
        source.at = PASSED
        pace = Pace(Clock(), structlog.get_logger(), 2, "events")
        who = subscribed, progress, source, REGISTRY["person"], Log()
        catching = CatchUp(*who, lambda: 200, Share(Clock()), Counts(), pace)
        stopping = until(lambda: len(fenced) > 1 or commits)
        task = asyncio.ensure_future(catching.run())
        await stopping
        catching.stop()
        await task
    assert (commits, fenced) == ([], [PASSED, None])


async def test_what_is_reacted_to_misses_none():
    world = ReactingWorld()
    write(world)
    await world.begin()
    async with world.shard() as shard:
        source = Cut(shard, world.journal)
        async with world.reactor(source) as reactor:
            await until(lambda: reactor.position == PASSED)
            source.at = PASSED
            await eventually(lambda: world.has(ALL))
    assert await world.said() == [f"event {number} of p-1" for number in range(1, ALL + 1)]
