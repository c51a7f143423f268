"""What works beside a reading shard: one that fails is run again, and what ends the shard ends all of it."""

import asyncio

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.waiting import ended
from annals.workers.reading.followed import EitherSource, FollowedPartition
from annals.workers.reading.shards import ReadingActor
from api_serving import Stores
from chained import chain
from following import Clock, Damages, Journal, until


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


async def test_one_that_fails_is_run_again_and_none_outlives_the_shard(monkeypatch):
    """Goes red when the first failure is the end of all: the others went on where nobody could end them any more."""
    monkeypatch.setattr("annals.agents.backoff.FIRST_S", 0.0)
    failing, other = Beside(3), Beside()
    journal = Journal(chain("p-1", 3))
    shard = Shard(REGISTRY["person"], 0, 1, Stores(), journal, journal, Clock(), Damages())
    actor = ReadingActor(FollowedPartition(shard, EitherSource(journal, journal), Stores()), [failing, other], {})
    task = asyncio.create_task(actor.run())
    await until(lambda: failing.runs == 4)
    assert (other.runs, other.is_ended) == (1, False)
    assert shard.status().end == 3, "the journal's end was asked for beside them"
    await ended(task)
    assert failing.is_ended
    assert other.is_ended
