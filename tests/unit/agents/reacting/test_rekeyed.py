"""A re-keyed reaction on a log in memory: events of all partitions with one key are one process, each once."""

import asyncio
import random
from dataclasses import replace

import pytest

from chained import chain
from following import until
from publishing import at_each_step, eventually
from reactors import LATER
from rekeying import GATHERING, RekeyedWorld, looking_often, people

FIRST, SECOND = people(0, 1)[0], people(1, 1)[0]
ONES = [f"event {number} of command-1" for number in (1, 2)]
TWOS = [f"event {number} of command-2" for number in (1, 2)]
FIRED = [f"timer {number} of command-{of}" for of in (1, 2) for number in (1, 2)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    looking_often(monkeypatch)


async def test_events_of_all_partitions_with_one_key_are_one_process_and_each_timer_fires_once():
    world = RekeyedWorld()
    await world.resume()
    async with world.process():
        await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
        await eventually(lambda: world.has(4))
        assert sorted(await world.said()) == sorted([*ONES, *TWOS])
        world.clock.at = LATER
        await eventually(lambda: world.has(8))
    assert sorted(await world.said()) == sorted([*ONES, *TWOS, *FIRED])
    ids = [identity for _, identity in await world.sent()]
    assert len(set(ids)) == 8
    assert await world.streamed() == [(f"command-{number}", False) for number in (1, 1, 2, 2)]


async def test_a_process_is_where_its_key_belongs_whoever_copies_it():
    """The partitions are apart: one member has both of the journal, another both of the stream."""
    world = RekeyedWorld()
    await world.resume()
    await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
    copying, first, second = (
        world.process(stream=()),
        world.process(journals=(), stream=(0,)),
        world.process(journals=(), stream=(1,)),
    )
    async with copying, first, second:
        await eventually(lambda: world.has(4))
    assert sorted(await world.said()) == sorted([*ONES, *TWOS])


async def test_an_empty_member_is_a_key_and_what_lacks_the_member_is_not_copied():
    world = RekeyedWorld(replace(GATHERING, key="data.team"))
    await world.resume()
    await world.record(chain(FIRST, 1, data={"name": "Ada", "team": ""}))
    await world.record([*chain(SECOND, 1), *people_of(1, data={"name": "Ada", "team": None})])
    await world.record(chain("p-last", 1, data={"name": "Ada", "team": "a b/c"}))
    await world.record(chain("p-end", 1, data={"name": "Ada", "team": 7}))

    async def has_all():
        return len(await world.streamed()) >= 3

    async with world.process(stream=()):
        await eventually(has_all)
    assert await world.streamed() == [("", False), ("7", False), ("a b/c", False)]


def people_of(partition, **how):
    """The first event of another aggregate of a journal partition."""
    return chain(people(partition, 2)[1], 1, **how)


async def test_what_was_recorded_before_it_was_resumed_is_seen_and_sends_nothing():
    world = RekeyedWorld()
    await world.record(chain(FIRST, 2))
    await world.resume()
    async with world.process():
        await world.record(chain(SECOND, 2))
        await eventually(lambda: world.has(2))
        assert len(await world.streamed()) == 4
        assert [each for each in await world.streamed() if each[1]] == [("command-1", True), ("command-2", True)]
    assert len(await world.said()) == 2
    assert {said.split(" of ")[1] for said in await world.said()} == {"command-1", "command-2"}


async def test_a_new_version_folds_the_stream_quietly_and_nothing_is_copied_again():
    world = RekeyedWorld()
    await world.resume()
    first, second = chain(FIRST, 2), chain(SECOND, 2)
    async with world.process():
        await world.record([*first, *second])
        await eventually(lambda: world.has(4))
        before = await world.streamed()
    async with world.process(version=2):
        await world.record(chain(FIRST, 1, first[1]))
        await eventually(lambda: world.has(5))
        assert (await world.said())[4:] == ["event 1 of command-3"]
        world.clock.at = LATER
        await eventually(lambda: world.has(10))
    assert await world.streamed() == [*before, ("command-3", False)]
    assert sorted((await world.said())[5:]) == sorted([*FIRED, "timer 1 of command-3"])
    async with world.process() as old:
        for name, each in old.items():
            wanted = "stopped" if name.startswith("stream") else "running"
            await until(lambda each=each, wanted=wanted: each.phase == wanted)
        assert "was run in version 2, and this release has version 1" in old["stream 0"].problem


async def test_a_timer_waits_for_what_the_journals_had_when_it_was_due():
    """The event that cancels it is in a journal partition that nobody copies yet."""
    world = RekeyedWorld()
    await world.resume()
    async with world.process(journals=(0,)) as here:
        await world.record(chain(FIRST, 1))
        await eventually(lambda: world.has(1))
        await world.record(chain(SECOND, 1, data={"name": "Stop"}))
        world.clock.at = LATER
        await passes_by(here)
        assert await world.said() == ["event 1 of command-1"]
        async with world.process(journals=(1,), stream=()):
            await eventually(lambda: world.has(2))
            await passes_by(here)
    assert await world.said() == ["event 1 of command-1", "event 2 of command-1"]


async def passes_by(reactors):
    """Have the stream's reactors make ten steps more."""
    steps = {name: 0 for name in reactors if name.startswith("stream")}
    for name in steps:
        step = reactors[name]._step

        async def counted(writer, name=name, step=step):
            steps[name] += 1
            return await step(writer)

        reactors[name]._step = counted
    async with asyncio.timeout(30):
        while min(steps.values()) < 10:  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_every_command_is_sent_once(is_carried_out, monkeypatch):
    """Killed at each third request; the next process goes on."""
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_EVENTS", 1)
    await at_each_step(killed_at, is_carried_out=is_carried_out, every=3)


async def killed_at(step, *, is_carried_out):
    world = RekeyedWorld()
    first, second = chain(FIRST, 2), chain(SECOND, 2)
    await world.record([*first[:1], *second])
    await world.resume()
    await world.record(first[1:])
    third = chain(SECOND, 1, second[1])
    world.die_at(step, is_carried_out=is_carried_out)

    async def is_over(count):
        return world.network.died.is_set() or await world.has(count)

    async with world.process():
        await world.record(third)
        await eventually(lambda: is_over(2))
        world.clock.at = LATER
        await eventually(lambda: is_over(7))
    has_died = world.next_process()
    world.clock.at = LATER
    async with world.process():
        await eventually(lambda: world.has(7))
        await world.record(chain(FIRST, 1, first[1]))
        await eventually(lambda: world.has(9))
    said = await world.said()
    timers = [each for each in said if each.startswith("timer")]
    assert sorted(timers) == sorted([*FIRED, "timer 1 of command-3", "timer 2 of command-3"]), step
    assert len([each for each in said if each.startswith("event")]) == 3, step
    ids = [identity for _, identity in await world.sent()]
    assert len(set(ids)) == 9, step
    quiet = [("command-1", True), ("command-1", True), ("command-2", True)]
    assert [each for each in await world.streamed() if each[1]] == quiet, step
    assert len(await world.streamed()) == 6, step
    return has_died


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_has_which_partition_when_and_dies_every_event_and_timer_is_in_one_process_once(seed):
    """Partitions of journal and stream move between two processes, one of which dies somewhere in each round."""
    chance = random.Random(seed)
    world = RekeyedWorld()
    await world.resume()
    there = {name: chain(name, 8) for name in (FIRST, SECOND)}
    recorded = dict.fromkeys(there, 0)
    for _ in range(4):
        for name, events in there.items():
            more = chance.randrange(3)
            await world.record(events[recorded[name] : recorded[name] + more])
            recorded[name] += more
        world.next_process()
        world.die_at(chance.randrange(60), is_carried_out=chance.random() < 0.5)
        dying, journal, stream = world.network, chance.randrange(2), chance.randrange(2)
        async with world.process((journal,), (stream,)):
            world.next_process()
            async with world.process((1 - journal,), (1 - stream,)):
                count = sum(recorded.values())
                await eventually(lambda dying=dying, count=count: is_over(world, dying, count))
    count = sum(recorded.values())
    async with world.process():
        await eventually(lambda: world.has(count))
        world.clock.at = LATER
        await eventually(lambda: world.has(2 * count))
    versions = [number for each in recorded.values() for number in range(1, each + 1)]
    wanted: list[str] = []
    for number in set(versions):
        for time in range(1, versions.count(number) + 1):
            wanted += [f"event {time} of command-{number}", f"timer {time} of command-{number}"]
    assert sorted(await world.said()) == sorted(wanted)
    assert len(await world.streamed()) == count


async def is_over(world, network, count):
    return network.died.is_set() or await world.has(count)
