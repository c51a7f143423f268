"""Turns: the bound finds itself from how long commits take; whoever waits is served in order, and never for ever."""

import asyncio
import random
import selectors
from contextlib import suppress

import pytest

from annals.agents.writing.shards.concurrency_limit import PERMIT_S, SMALL, ConcurrencyLimit


class Leaps(selectors.DefaultSelector):
    """Waits for nothing: time leaps to the next timer."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0
        return super().select(0)


class Leaping(asyncio.SelectorEventLoop):
    def __init__(self):
        self.leaps = Leaps()
        super().__init__(self.leaps)

    def time(self):
        return self.leaps.now


def run(work):
    with asyncio.Runner(loop_factory=Leaping) as runner:
        return runner.run(work)


class Broker:
    """Shards that always have something to commit, and a broker that takes `commit_s(at once)` for it, give or take."""

    def __init__(self, shards, commit_s, concurrency_limit=None, commands=1):
        self.commit_s = commit_s
        self.concurrency_limit = concurrency_limit or ConcurrencyLimit()
        self.commands = commands
        self.at_once = self.most_at_once = self.commits = 0
        self.random = random.Random(7)
        self.shards = shards

    async def shard(self):
        while True:
            async with self.concurrency_limit.permit(self.commands) as permit:
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                took = self.commit_s(self.at_once) * self.random.lognormvariate(0, 0.4)
                try:
                    await asyncio.sleep(took)
                finally:
                    self.at_once -= 1
                self.commits += 1
                permit.record_commit(self.commands, took)
            await asyncio.sleep(0.000_1)

    async def serve(self, seconds):
        tasks = [asyncio.create_task(self.shard()) for _ in range(self.shards)]
        try:
            await asyncio.sleep(seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def crowded(at_once):
    return 0.001 + 0.002 * at_once


def far(at_once):
    return 0.05


@pytest.mark.parametrize("shards", [4, 28])
def test_where_commits_get_slower_the_more_there_are_few_are_at_once(shards):
    broker = Broker(shards, lambda at_once: 0.0005 + 0.002 * at_once)
    run(broker.serve(12))
    assert broker.concurrency_limit.rule.most in (2, 3)


@pytest.mark.parametrize("shards", [4, 28])
def test_where_commits_take_as_long_however_many_there_are_there_is_no_bound(shards):
    broker = Broker(shards, far)
    run(broker.serve(60))
    assert broker.concurrency_limit.rule.most >= shards


def test_a_bound_that_is_not_needed_any_more_is_given_up():
    broker = Broker(28, lambda at_once: 0.002 * at_once)

    async def scene():
        await broker.serve(12)
        found = broker.concurrency_limit.rule.most
        broker.commit_s = far
        await broker.serve(120)
        return found

    assert run(scene()) in (2, 3)
    assert broker.concurrency_limit.rule.most >= 28


def test_as_many_as_are_at_once_before_it_begins_to_crowd():
    """Ten at once take no longer than one; each one more makes all others wait."""
    broker = Broker(28, lambda at_once: 0.005 * max(1.0, at_once / 10))
    run(broker.serve(8))
    assert 9 <= broker.concurrency_limit.rule.most <= 13


def test_a_trial_that_is_not_felt_any_more_is_ended():
    broker = Broker(6, far)
    broker.concurrency_limit.rule.most = broker.concurrency_limit.rule.now = 4

    async def scene():
        async with asyncio.timeout(60):
            work = asyncio.create_task(broker.serve(60))
            while broker.concurrency_limit.rule.now != 6:  # noqa: ASYNC110 - tries six
                await asyncio.sleep(0.01)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        broker.shards, broker.commit_s = 4, crowded
        await broker.serve(20)

    run(scene())
    assert broker.concurrency_limit.rule.most in (2, 3)


def test_large_batches_neither_teach_nor_wait():
    broker = Broker(4, crowded, commands=SMALL + 1)
    run(broker.serve(10))
    assert broker.concurrency_limit.rule.most == float("inf")
    broker.concurrency_limit.rule.most = broker.concurrency_limit.rule.now = 2
    run(broker.serve(1))
    assert broker.most_at_once == 4
    assert broker.concurrency_limit.rule.most == 2


def test_few_that_are_at_once_teach_nothing():
    broker = Broker(2, crowded)
    run(broker.serve(10))
    assert broker.concurrency_limit.rule.most == float("inf")


def bounded(most=2):
    concurrency_limit = ConcurrencyLimit()
    concurrency_limit.rule.most = concurrency_limit.rule.now = most
    return concurrency_limit


async def hold(concurrency_limit, order, name, until):
    async with concurrency_limit.permit(1):
        order.append(name)
        await until.wait()


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def test_turns_come_in_the_order_in_which_they_were_asked_for():
    async def scene():
        concurrency_limit, order, until = bounded(), [], [asyncio.Event() for _ in range(6)]
        tasks = [asyncio.create_task(hold(concurrency_limit, order, n, until[n])) for n in range(6)]
        await settle()
        seen = [list(order)]
        for event in until:
            event.set()
            await settle()
            seen.append(list(order))
        await asyncio.gather(*tasks)
        return seen

    assert run(scene()) == [list(range(n)) for n in (2, 3, 4, 5, 6, 6, 6)]


@pytest.mark.parametrize("whose", [0, 2], ids=["one that has its turn", "one that waits"])
def test_whoever_is_cancelled_frees_its_place(whose):
    async def scene():
        concurrency_limit, order, until = bounded(), [], asyncio.Event()
        tasks = [asyncio.create_task(hold(concurrency_limit, order, n, until)) for n in range(4)]
        await settle()
        tasks[whose].cancel()
        await settle()
        seen = list(order)
        until.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with concurrency_limit.permit(1), concurrency_limit.permit(1):
            return seen, sorted(order), concurrency_limit.wanted

    seen, order, wanted = run(scene())
    assert seen == ([0, 1, 2] if whose == 0 else [0, 1])
    assert order == [n for n in range(4) if n != whose or whose == 0]
    assert wanted == 2


def test_cancelled_at_the_moment_of_its_turn_it_passes_it_on():
    async def scene():
        concurrency_limit, order, until = bounded(), [], asyncio.Event()
        async with concurrency_limit.permit(1):
            tasks = [asyncio.create_task(hold(concurrency_limit, order, n, until)) for n in range(3)]
            await settle()
        tasks[1].cancel()  # it has its turn, and has not run yet
        await settle()
        seen = list(order)
        until.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen

    assert run(scene()) == [0, 2]


def test_a_turn_that_takes_too_long_holds_nobody_up_and_is_counted_once():
    async def scene():
        concurrency_limit, order, hangs, until = bounded(), [], asyncio.Event(), asyncio.Event()
        hanging = [asyncio.create_task(hold(concurrency_limit, order, n, hangs)) for n in range(5)]
        other = asyncio.create_task(hold(concurrency_limit, order, 5, until))
        await asyncio.sleep(0.9 * PERMIT_S)
        seen = [list(order)]
        await asyncio.sleep(0.2 * PERMIT_S)
        seen.append(list(order))  # with one broker dead all its shards would hang, two at a time
        wanted = [concurrency_limit.wanted]
        await asyncio.sleep(0.6 * PERMIT_S)
        hangs.set()
        await asyncio.gather(*hanging)
        wanted.append(concurrency_limit.wanted)
        until.set()
        await other
        return seen, [*wanted, concurrency_limit.wanted]

    seen, wanted = run(scene())
    assert seen == [[0, 1], list(range(6))]
    assert wanted == [4, 1, 0]


def test_a_turn_that_took_too_long_teaches_nothing():
    async def scene():
        concurrency_limit = ConcurrencyLimit()
        before = len(concurrency_limit.rule._recent)
        async with concurrency_limit.permit(1) as permit:
            await asyncio.sleep(2 * PERMIT_S)
            permit.record_commit(1, 2 * PERMIT_S)
        return len(concurrency_limit.rule._recent) - before

    assert run(scene()) == 0


def test_a_failure_ends_a_turn():
    async def scene():
        concurrency_limit = bounded()
        for _ in range(5):
            with suppress(OSError):
                async with concurrency_limit.permit(1):
                    raise OSError
        return concurrency_limit.wanted

    assert run(scene()) == 0
