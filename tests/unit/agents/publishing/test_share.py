"""How much of a process's time catching up takes."""

import asyncio
from contextlib import asynccontextmanager

from annals.agents.publishing import share as shares
from annals.agents.publishing.share import Share
from chained import chain
from publishing import World, eventually, progress_of, shown


class Seconds:
    """A clock that a test sets."""

    def __init__(self):
        self.at = 0.0  # of a machine that has just been started

    def monotonic(self):
        return self.at


async def test_a_turn_and_its_rest_are_three_times_the_turn_while_something_is_published_live(monkeypatch):
    rests, clock = [], Seconds()

    async def sleep(seconds):
        rests.append(seconds)

    monkeypatch.setattr(shares, "asyncio", type("Asyncio", (), {"Lock": asyncio.Lock, "sleep": staticmethod(sleep)}))
    share = Share(clock)

    async def take(seconds):
        async with share.turn():
            clock.at += seconds
        return rests

    assert await take(0.25) == []
    share.note_live()
    assert await take(0.25) == [0.5]
    assert await take(0.5) == [0.5, 1.0]
    assert await take(0.25) == [0.5, 1.0], "a second after that"


async def test_one_takes_its_turn_at_a_time():
    share, inside, most = Share(Seconds()), 0, 0

    async def take():
        nonlocal inside, most
        async with share.turn():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(take() for _ in range(5)))
    assert most == 1


async def test_one_that_answers_catches_up_in_turns_and_is_live_work_once_it_has(monkeypatch):
    """Goes red when it looks at the journal without turns: all that is live waits for what its filters take.

    It has a row: without any it would rest, and leave it to the publisher to look.
    """
    turns, live, turn, note_live = [], [], Share.turn, Share.note_live

    @asynccontextmanager
    async def counted(share, *waiting):
        async with turn(share, *waiting):
            turns.append(share)
            yield

    def noted(share):
        live.append(share)
        note_live(share)

    monkeypatch.setattr(Share, "turn", counted)
    monkeypatch.setattr(Share, "note_live", noted)
    monkeypatch.setattr("annals.agents.publishing.delivering.loading.RUN_EVENTS", 10)
    monkeypatch.setattr("annals.agents.reading.keeping.recent_events.MOST_EVENTS", 0)  # what is far behind is not there
    world = World("late")
    await world.subscribe("late", delivery="acknowledged", filters=({"suffix": {"subject": "00"}},))
    events = [event for number in range(100) for event in chain(f"p-{number}" if number else "p-00", 1)]
    world.journal.append(events)

    async def has_looked_at_all():
        return (await progress_of(world))["late"]["position"] >= 100

    async with world.shard() as shard, world.publisher(shard):
        await eventually(has_looked_at_all)
        assert (len(turns), live) == (8, []), "it has no row at first; the last run is no more than what is live brings"
        world.journal.append(comes := chain("p-100", 1))
        await eventually(lambda: is_delivered(world, [events[0], *comes]))
    assert (len(turns), len(live)) == (8, 1)


async def is_delivered(world, events):
    return await world.cids("late") == shown(events)
