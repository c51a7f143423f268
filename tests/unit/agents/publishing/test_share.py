"""How much of a process's time catching up takes."""

import asyncio

from annals.agents.publishing import share as shares
from annals.agents.publishing.share import LIVE_WITHIN_S, Share


class Seconds:
    """A clock that a test sets."""

    def __init__(self):
        self.at = 100.0

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
    clock.at += LIVE_WITHIN_S
    assert await take(0.25) == [0.5, 1.0]


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
