"""Shards that share turns: no more than the bound write at once, and none waits behind what is no transaction."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from test_shard import Scene, misplaced, patience, running  # noqa: F401 - `patience` is for all tests here

from agents.ports import UncertainError
from agents.shard import Phase
from agents.turns import Turns


def bounded(most):
    turns = Turns()
    turns.rule.most = turns.rule.now = most
    return turns


def scenes(turns, count):
    made = [Scene(turns=turns, partitions=1) for _ in range(count)]
    for scene in made:
        scene.command("Ada")
    return made


def gated(scene):
    """Let the scene's commits wait for an event."""
    commit, gate = scene.log.commit, asyncio.Event()

    async def when_let(*args):
        await gate.wait()
        await commit(*args)

    scene.log.commit = when_let
    return gate


async def waits(turns, wanted):
    async with asyncio.timeout(10):
        while turns.wanted != wanted:  # noqa: ASYNC110 - a turn of the loop, not a wait
            await asyncio.sleep(0)


@asynccontextmanager
async def one_waiting():
    """Give a shard that waits for the only turn, the gate of the commit of the one that has it, and the turns."""
    turns = bounded(1)
    first, second = scenes(turns, 2)
    gate = gated(first)
    async with running(first), running(second):
        await waits(turns, 2)
        yield second, gate, turns


async def all_running(stack, made):
    for scene in made:
        await stack.enter_async_context(running(scene))


async def test_no_more_than_the_bound_are_in_a_transaction_at_once():
    turns, seen, at_once = bounded(2), [], 0

    def counted(commit):
        async def counting(*args):
            nonlocal at_once
            at_once += 1
            seen.append(at_once)
            await asyncio.sleep(0.001)
            await commit(*args)
            at_once -= 1

        return counting

    made = scenes(turns, 5)
    for scene in made:
        scene.log.commit = counted(scene.log.commit)
    async with AsyncExitStack() as stack:
        await all_running(stack, made)
        for scene in made:
            assert await scene.answered(1) == ["accepted"]
    assert max(seen) == 2


async def test_commits_that_hang_stop_the_others_for_no_longer_than_a_turn_lasts(monkeypatch):
    monkeypatch.setattr("agents.turns.LASTS_S", 0.02)
    turns = bounded(2)
    made = scenes(turns, 4)
    gates = [gated(scene) for scene in made[:2]]
    async with AsyncExitStack() as stack:
        await all_running(stack, made)
        for scene in made[2:]:
            assert await scene.answered(1) == ["accepted"]
        assert not made[0].log.outcomes
        for gate, scene in zip(gates, made, strict=False):
            gate.set()
            assert await scene.answered(1) == ["accepted"]
    assert turns.wanted == 0


async def test_what_comes_while_a_shard_waits_for_its_turn_is_decided_with_the_rest():
    async with one_waiting() as (second, gate, _):
        second.command("Bea", type_="RenamePerson")
        second.source.deliver(1)
        gate.set()
        assert await second.answered(2) == ["accepted", "accepted"]
    assert second.log.calls.count("commit") == 1


async def test_a_rebalance_does_not_wait_for_turns():
    async with one_waiting() as (second, gate, turns):
        async with asyncio.timeout(0.01):
            await second.shard.suspend()
        gate.set()
        await waits(turns, 0)
        assert "commit" not in second.log.calls
        second.shard.resume()
        assert await second.answered(1) == ["accepted"]


async def test_what_disturbs_a_shard_that_waits_for_its_turn_is_looked_at_before_it_decides():
    async with one_waiting() as (second, gate, _):
        second.log.append()
        second.shard.compare(second.log.end)
        gate.set()
        await second.answered(1)
    assert [call for call in second.log.calls if call in ("fence", "commit")] == ["fence", "fence", "commit"]


async def test_a_shard_that_is_closed_while_it_waits_leaves_the_queue():
    turns = bounded(1)
    first, second, third = scenes(turns, 3)
    gate = gated(first)
    async with running(first):
        async with running(second):
            await waits(turns, 2)
        assert turns.wanted == 1
        async with running(third):
            await waits(turns, 2)
            gate.set()
            await third.answered(1)


async def test_a_shard_that_is_closed_in_its_transaction_frees_its_turn():
    turns = bounded(1)
    first, second = scenes(turns, 2)
    gated(first)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(first))
        await waits(turns, 1)
        async with running(second):
            await waits(turns, 2)
            await stack.aclose()
            assert await second.answered(1) == ["accepted"]


@pytest.mark.parametrize("what", ["copies", "opening"])
async def test_reading_takes_no_turn(what):
    turns = bounded(1)
    reader, other = Scene(turns=turns, partitions=2), scenes(turns, 1)[0]
    if what == "copies":
        misplaced(reader)
        reader.log.held_up = 1
        reader.log.released.clear()
    else:
        reader.command("Ada")
        reader.log.failures = [("before", UncertainError("lost"))]
    async with running(reader):
        await reader.until(Phase.OPEN)
        reader.log.stable_after = 1_000_000
        await reader.until(Phase.OPENING)
        assert turns.wanted == 0
        async with running(other):
            assert await other.answered(1) == ["accepted"]
        assert reader.shard.phase is Phase.OPENING
