"""Shards that share turns: no more than the bound write at once, and none waits behind what is no transaction."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from annals.agents.ports import UncertainError
from annals.agents.writing.shards.concurrency_limit import ConcurrencyLimit
from annals.agents.writing.shards.shard import Phase
from shard_scene import Scene, misplaced, patience, running  # noqa: F401 - `patience` is for all tests here


def bounded(most):
    concurrency_limit = ConcurrencyLimit()
    concurrency_limit.rule.most = concurrency_limit.rule.now = most
    return concurrency_limit


def scenes(concurrency_limit, count):
    made = [Scene(concurrency_limit=concurrency_limit, partitions=1) for _ in range(count)]
    for scene in made:
        scene.command("Ada")
    return made


def gated(scene):
    """Let the scene's commits wait for an event."""
    commit, gate = scene.log.commit, asyncio.Event()

    async def when_let(*args):
        await gate.wait()
        return await commit(*args)

    scene.log.commit = when_let
    return gate


async def waits(concurrency_limit, wanted):
    async with asyncio.timeout(60):
        while concurrency_limit.wanted != wanted:  # noqa: ASYNC110 - a turn of the loop, not a wait
            await asyncio.sleep(0)


@asynccontextmanager
async def one_waiting():
    """Give a shard that waits for the only turn, the gate of the commit of the one that has it, and the turns."""
    concurrency_limit = bounded(1)
    first, second = scenes(concurrency_limit, 2)
    gate = gated(first)
    async with running(first), running(second):
        await waits(concurrency_limit, 2)
        yield second, gate, concurrency_limit


async def all_running(stack, made):
    for scene in made:
        await stack.enter_async_context(running(scene))


async def test_no_more_than_the_bound_are_in_a_transaction_at_once():
    concurrency_limit, seen, at_once = bounded(2), [], 0

    def counted(commit):
        async def counting(*args):
            nonlocal at_once
            at_once += 1
            seen.append(at_once)
            await asyncio.sleep(0.001)
            metadata = await commit(*args)
            at_once -= 1
            return metadata

        return counting

    made = scenes(concurrency_limit, 5)
    for scene in made:
        scene.log.commit = counted(scene.log.commit)
    async with AsyncExitStack() as stack:
        await all_running(stack, made)
        for scene in made:
            assert await scene.answered(1) == ["accepted"]
    assert max(seen) == 2


async def test_commits_that_hang_stop_the_others_for_no_longer_than_a_turn_lasts(monkeypatch):
    monkeypatch.setattr("annals.agents.writing.shards.concurrency_limit.PERMIT_S", 0.02)
    concurrency_limit = bounded(2)
    made = scenes(concurrency_limit, 4)
    gates = [gated(scene) for scene in made[:2]]
    async with AsyncExitStack() as stack:
        await all_running(stack, made)
        for scene in made[2:]:
            assert await scene.answered(1) == ["accepted"]
        assert not made[0].log.outcomes
        for gate, scene in zip(gates, made, strict=False):
            gate.set()
            assert await scene.answered(1) == ["accepted"]
    assert concurrency_limit.wanted == 0


async def test_what_comes_while_a_shard_waits_for_its_turn_is_decided_with_the_rest():
    async with one_waiting() as (second, gate, _):
        second.command("Bea", type_="RenamePerson")
        gate.set()
        assert await second.answered(2) == ["accepted", "accepted"]
    assert second.log.calls.count("commit") == 1


async def test_a_rebalance_does_not_wait_for_turns():
    async with one_waiting() as (second, gate, concurrency_limit):
        async with asyncio.timeout(60):  # the turn does not come before the gate is open
            await second.shard.suspend()
        gate.set()
        await waits(concurrency_limit, 0)
        assert "commit" not in second.log.calls
        second.shard.resume()
        assert await second.answered(1) == ["accepted"]


async def test_what_disturbs_a_shard_that_waits_for_its_turn_is_looked_at_before_it_decides():
    async with one_waiting() as (second, gate, _):
        second.log.append()
        second.shard.compare(second.shard.ends(), second.ends())
        gate.set()
        await second.answered(1)
    assert [call for call in second.log.calls if call in ("fence", "commit")] == ["fence", "fence", "commit"]


async def test_a_shard_that_is_closed_while_it_waits_leaves_the_queue():
    concurrency_limit = bounded(1)
    first, second, third = scenes(concurrency_limit, 3)
    gate = gated(first)
    async with running(first):
        async with running(second):
            await waits(concurrency_limit, 2)
        assert concurrency_limit.wanted == 1
        async with running(third):
            await waits(concurrency_limit, 2)
            gate.set()
            await third.answered(1)


async def test_a_shard_that_is_closed_in_its_transaction_frees_its_turn():
    concurrency_limit = bounded(1)
    first, second = scenes(concurrency_limit, 2)
    gated(first)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(first))
        await waits(concurrency_limit, 1)
        async with running(second):
            await waits(concurrency_limit, 2)
            await stack.aclose()
            assert await second.answered(1) == ["accepted"]


@pytest.mark.parametrize("what", ["copies", "opening"])
async def test_reading_takes_no_turn(what):
    concurrency_limit = bounded(1)
    reader, other = Scene(concurrency_limit=concurrency_limit, partitions=2), scenes(concurrency_limit, 1)[0]
    if what == "copies":
        misplaced(reader)
        reader.log.hold_up("commands", 1)
    else:
        reader.command("Ada")
        reader.log.failures = [("before", UncertainError("lost"))]
    async with running(reader):
        await reader.until(Phase.OPEN)
        reader.log.hold_up("events")
        await reader.until(Phase.OPENING)
        assert concurrency_limit.wanted == 0
        async with running(other):
            assert await other.answered(1) == ["accepted"]
        assert reader.shard.phase is Phase.OPENING
