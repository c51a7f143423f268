"""A member that has just not answered is passed over for some seconds, until it answers again, and named meanwhile."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from annals.agents.reading.gathering.all_shards import AllShards
from annals.agents.reading.gathering.gather import gather
from annals.agents.reading.gathering.questions import AskHistory
from annals.agents.reading.gathering.silent_members import SILENT_S, PassingOver
from annals.agents.reading.ports import NotReadyError
from following import until
from gathered import Deployment, InProcess, event, id_in

KINDS = {"person": 1}
KEY = ("person", 0)
ADA = id_in(0, 1)
AGAIN = "'owner' has just not answered in time"


def soon(within_s=30.0):
    return asyncio.get_running_loop().time() + within_s


class Counting(InProcess):
    """Counts what each worker is asked; `slow` are questions that take long, of workers that are there."""

    def __init__(self, deployment):
        super().__init__(deployment)
        self.slow = ()
        self.release = asyncio.Event()

    async def ask(self, member, kind, partition, question, deadline, *, standby=False):
        if isinstance(question, self.slow):
            self.asked.append((member.id, standby))
            await self.release.wait()
        return await super().ask(member, kind, partition, question, deadline, standby=standby)


@asynccontextmanager
async def crew(*, has_standby=False):
    """An owner with one event, perhaps a standby of it, and a third who asks."""
    deployment = Deployment(KINDS)
    deployment.append("person", [event("person", ADA)])
    deployment.worker("owner", KEY)
    if has_standby:
        deployment.worker("standby").follow(KEY)
    asker = deployment.worker("asker")
    peers = Counting(deployment)
    passing = PassingOver(peers)
    try:
        for worker in deployment.workers:
            await worker.read()
        yield peers, AllShards(asker, asker, passing, KINDS)
    finally:
        await passing.close()
        await deployment.close()


async def asked(shards, within_s=2 * SILENT_S):
    return await gather(shards.all(), lambda shard: shard.state(ADA), soon(within_s))


async def test_who_hangs_is_asked_once_and_then_passed_over_and_named():
    async with crew() as (peers, shards):
        peers.frozen.add("owner")
        assert [each.reason for each in (await asked(shards)).missing] == ["no answer in time"]
        before = len(peers.asked)
        for _ in range(20):
            (missing,) = (await asked(shards, 30.0)).missing  # it would take 30 seconds each
            assert (missing.kind, missing.partition) == KEY
            assert AGAIN in missing.reason
        assert peers.asked[before:] in ([], [("owner", False)])  # where the partition stands, and nothing else


async def test_a_standby_answers_at_once_for_who_is_passed_over():
    async with crew(has_standby=True) as (peers, shards):
        peers.frozen.add("owner")
        await asked(shards, 5.0)
        peers.asked.clear()
        for _ in range(20):
            found = await asked(shards, 5.0)
            assert [each.reason for each in found.stale] == ["standby"]
        assert ("owner", False) not in peers.asked[1:]
        assert peers.asked.count(("standby", True)) == 20


async def test_who_answers_again_is_asked_again():
    async with crew() as (peers, shards):
        peers.frozen.add("owner")
        await asked(shards)
        peers.frozen.clear()
        await until(lambda: not shards.peers._silent)
        assert (await asked(shards, 30.0)).missing == []


async def test_a_question_that_takes_long_puts_nobody_aside():
    async with crew() as (peers, shards):
        shard = shards.shard(*KEY)
        peers.slow = (AskHistory,)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shard.history(ADA, first=1, last=None, descending=False, limit=1), 2 * SILENT_S)
        await until(lambda: not shards.peers._silent)
        assert (await asked(shards)).missing == []


async def test_a_wait_that_is_given_up_puts_nobody_aside():
    async with crew() as (_, shards):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shards.shard(*KEY).until_version(ADA, 9, soon()), 2 * SILENT_S)
        assert not shards.peers._silent
        assert (await asked(shards)).missing == []


async def test_who_refuses_at_once_is_asked_each_time():
    async with crew() as (peers, shards):
        (member,) = [worker.me for worker in peers.deployment.workers if worker.name == "owner"]
        await peers.deployment.workers[0].lose(KEY)
        for _ in range(3):
            with pytest.raises(NotReadyError, match="it has lost it"):
                await shards.peers.ask(member, *KEY, None, soon())
        assert peers.asked == [("owner", False)] * 3
