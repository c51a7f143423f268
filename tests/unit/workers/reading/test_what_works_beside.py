"""What works beside a reading shard: one that fails is run again, and what ends the shard ends all of it."""

import asyncio
from types import SimpleNamespace

from annals.agents.waiting import ended
from annals.workers.reading.shards import ReadingActor
from following import until


class Beside:
    """Works until cancelled; the first times it fails."""

    def __init__(self, fails=0):
        self.fails, self.runs, self.is_ended = fails, 0, False

    async def run(self):
        self.runs += 1
        if self.runs <= self.fails:
            raise ValueError("nobody foresaw it")
        try:
            await asyncio.Event().wait()
        finally:
            self.is_ended = True


async def look():
    """Nobody asks for the end."""


async def test_one_that_fails_is_run_again_and_none_outlives_the_shard(monkeypatch):
    """Goes red when the first failure is the end of all: the others went on where nobody could end them any more."""
    monkeypatch.setattr("annals.agents.backoff.FIRST_S", 0.0)
    failing, other = Beside(3), Beside()
    shard = SimpleNamespace(kind="person", partition=0, look=look)
    actor = ReadingActor(SimpleNamespace(shard=shard), [failing, other], {})
    task = asyncio.create_task(actor.run())
    await until(lambda: failing.runs == 4)
    assert (other.runs, other.is_ended) == (1, False)
    await ended(task)
    assert failing.is_ended
    assert other.is_ended
