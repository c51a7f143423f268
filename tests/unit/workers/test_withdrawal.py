"""Workers that leave their group where their stores fail do not leave it empty for long, in virtual time."""

import asyncio
import random
from types import SimpleNamespace

import pytest

from annals.agents.folding.damage import Failing
from annals.agents.ports import StoreUnavailableError
from annals.workers.tools.simulation.loop import SimulatedLoop
from annals.workers.withdrawal import FIRST_RETRY_S, LAST_RETRY_S, PATIENCE_S, Withdrawal
from processes import free_port

JOINS_S = 3.0
LEAVES_S = 1.0
HOUR_S = 3600.0


class Stores:
    """None can be opened."""

    async def open(self):
        raise StoreUnavailableError("No space left on device")

    async def close(self, store):
        del store


def now():
    return asyncio.get_running_loop().time()


class Member(Withdrawal):
    """A worker whose stores fail, in a group whose members are looked up in a set."""

    def __init__(self, name, members):
        super().__init__({}, "annals", None)
        self.name, self.members = name, members

    async def _has_others(self, *, is_member):
        there = self.members - {self.name}  # its own membership counts as `is_member` says
        await asyncio.sleep(0.1)
        return bool(there)

    async def live(self):
        while True:
            await asyncio.sleep(JOINS_S)
            self.members.add(self.name)
            since = now()

            def failing(seconds, since=since):
                return Failing(Stores(), "full", 0.0) if now() - since >= seconds else None

            await self.until_due(lambda: [SimpleNamespace(damaged_stores=SimpleNamespace(failing=failing))])
            await asyncio.sleep(LEAVES_S)
            self.members.discard(self.name)
            await self.until_over()


async def empty_s(members, for_s):
    """For how many seconds at a time the group had no member."""
    longest, since, began = 0.0, None, now()
    while now() - began < for_s:
        await asyncio.sleep(0.5)
        since = None if members else since or now()
        longest = max(longest, 0.0 if since is None else now() - since)
    return longest


@pytest.fixture(params=range(5))
def run(request):
    random.seed(request.param)
    loop = SimulatedLoop(random.Random(request.param))
    yield loop.run_until_complete
    loop.close()


def test_of_those_that_leave_at_once_one_is_soon_back(run):
    """Goes red when disks that are full at the same time leave nobody in the group, for five minutes at a time."""

    async def history():
        members = set()
        living = [asyncio.create_task(Member(name, members).live()) for name in "ab"]
        await asyncio.sleep(JOINS_S + PATIENCE_S)
        longest = await empty_s(members, HOUR_S)
        for each in living:
            each.cancel()
        return longest

    assert run(history()) < 2 * FIRST_RETRY_S + JOINS_S


def test_one_that_left_is_soon_back_where_the_last_of_the_others_is_gone(run):
    """Goes red when a deployment has nobody for as long as the one that could go on waits for its stores."""

    async def history():
        members = {"healthy"}
        living = asyncio.create_task(Member("broken", members).live())
        await asyncio.sleep(4 * LAST_RETRY_S)
        members.discard("healthy")
        longest = await empty_s(members, LAST_RETRY_S)
        living.cancel()
        return longest

    assert run(history()) < 2 * FIRST_RETRY_S + JOINS_S


async def test_where_nobody_knows_who_is_there_it_stays_where_it_is():
    """Goes red when a worker without stores comes back to others because one question to a broker failed."""
    nobody = Withdrawal({"bootstrap_servers": f"127.0.0.1:{free_port()}", "request_timeout_ms": 1_000}, "annals", None)
    assert not await nobody._has_others(is_member=True)  # in the group: it does not leave
    assert await nobody._has_others(is_member=False)  # outside: it does not come back
