"""Another deployment's journal as input: judged as it comes, each event reacted to once, none that has come round."""

import asyncio

import pytest

from annals.agents.ports import StoppedError, UnreachableError
from chained import chain, sealed
from following import soon, until
from publishing import at_each_step, eventually
from reactors import ALL, LATER, ForeignWorld, react_through_a_death

EIGHT = ",".join("abcdefgh").encode()


async def test_its_events_lead_to_commands_that_name_it():
    world = ForeignWorld()
    world.append(chain("p-1", 1))
    world.append(chain("p-2", 1, via=b"first,second"))
    await world.begin()
    async with world.reacting():
        await eventually(lambda: world.has(2))
        world.clock.at = LATER
        await eventually(lambda: world.has(4))
    assert await world.through() == [b"there", b"first,second,there"] * 2
    assert world.counted.status == {"counted": 2}


async def test_what_has_come_through_this_deployment_or_through_eight_is_counted_and_passed_over():
    world = ForeignWorld()
    for name, via in (("p-1", b"here"), ("p-2", b"x,here,y"), ("p-3", EIGHT), ("p-4", b"x,y")):
        world.append(chain(name, 1, via=via))
    await world.begin()
    async with world.reacting():
        await eventually(lambda: world.has(1))
        await until(lambda: world.counted.rounds == 3)
    assert await world.said() == ["event 1 of p-4"]
    assert await world.through() == [b"x,y,there"]


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_every_command_is_sent_once(is_carried_out, monkeypatch):
    """Killed at each request in turn; the next process judges the journal from its beginning and goes on."""
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_EVENTS", 2)
    await at_each_step(killed_at, is_carried_out=is_carried_out)


async def killed_at(step, *, is_carried_out):
    return await react_through_a_death(ForeignWorld(), step, is_carried_out=is_carried_out)


async def test_void_and_foreign_records_are_counted_and_passed_over():
    world = ForeignWorld()
    first, second = chain("p-1", 2)
    lost = sealed("p-1", 2, first.cid, data={"name": "the loser"})
    world.append([first, second, lost, second.but(key=b"p-9")])
    world.append(chain("p-1", 1, second))
    await world.begin()
    async with world.reacting():
        await eventually(lambda: world.has(3))
    assert await world.said() == ALL[:3]
    assert world.counted.status == {"counted": 3, "void": 1, "foreign": 1}


async def test_a_gap_stops_this_input_alone_with_the_place_and_what_came_before_it_is_reacted_to():
    world = ForeignWorld()
    events = chain("p-1", 4)
    world.append([*events[:2], events[3]])
    await world.begin()
    async with world.reacting() as reactor:
        await until(lambda: reactor.phase == "stopped")
        assert reactor.reason.startswith("person-0 of there: gap in the chain of person 'p-1': offset 2 has version 4")
        assert reactor.problem is None  # this deployment is ready
        assert await world.said() == ALL[:2]
        assert world.counted.status["gap"] == 1
        world.journal.records.pop()
        world.append(events[2:])
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(4))
    assert await world.said() == ALL[:4]


@pytest.mark.parametrize("is_shorter", [False, True])
async def test_a_journal_that_was_made_anew_stops_it(is_shorter):
    world = ForeignWorld()
    world.append(chain("p-1", 2))
    await world.begin()
    async with world.reacting():
        await eventually(lambda: world.has(2))
    world.journal.records.clear()
    world.append(chain("p-2", 1 if is_shorter else 3))
    async with world.reacting() as reactor:
        await until(lambda: reactor.phase == "stopped")
        assert ("ends at 1" if is_shorter else "another journal") in reactor.reason
        assert reactor.problem is None
    assert len(await world.said()) == 2


async def test_one_that_was_restored_from_a_copy_of_its_records_is_reacted_to_once():
    world, events = ForeignWorld(), chain("p-1", 4)
    for event in events[:2]:
        world.append([event])
        world.journal.mark()
    await world.begin()
    async with world.reacting():
        await eventually(lambda: world.has(2))
    world.journal.records.clear()
    world.append(events)
    async with world.reacting():
        await eventually(lambda: world.has(4))
    assert await world.said() == ALL[:4]


async def test_one_that_lost_its_end_while_it_was_read_stops_it():
    world = ForeignWorld()
    source = world.source()
    world.append(chain("p-1", 3))
    assert len((await source.events_from(0, 10)).events) == 3
    world.journal.records.pop()
    with pytest.raises(StoppedError, match=r"^person-0 of there was read up to offset 3 and ends at 2: "):
        await source.events_from(3, 10)


async def test_what_is_asked_for_a_second_time_is_judged_anew():
    world = ForeignWorld()
    source, events = world.source(), chain("p-1", 5)
    world.append(events)
    world.journal.mark()
    run = await source.events_from(0, 2)
    assert ([each.offset for each in run.events], run.next_offset) == ([0, 1], 2)
    assert not source.status().reached or source.status().offset == 6
    run = await source.events_from(2, 10)
    assert ([each.offset for each in run.events], run.next_offset) == ([2, 3, 4], 6)
    assert await source.last_before(6) == events[4].cid
    assert await source.until_offset(3, soon())
    assert await source.last_before(3) == events[2].cid
    assert [each.offset for each in (await source.events_from(3, 10)).events] == [3, 4]
    assert source.status().reached
    assert world.counted.status["counted"] == 7  # below where it is read on from, nothing is counted twice


async def test_events_that_are_older_than_the_resuming_are_folded_and_send_nothing():
    world = ForeignWorld()
    world.append(chain("p-1", 3))
    await world.begin(quiet_until=2)
    async with world.reacting():
        await eventually(lambda: world.has(1))
    assert await world.said() == ["event 3 of p-1"]


async def test_a_newer_version_that_has_run_is_named_in_readiness():
    world = ForeignWorld()
    world.append(chain("p-1", 1))
    await world.begin()
    async with world.reacting(version=2):
        await until(lambda: world.counted.status["counted"] >= 1)
        await eventually(lambda: is_of_version(world, 2))
    async with world.reacting() as reactor:
        await until(lambda: reactor.phase == "stopped")
        assert "counting in person-0 of there does not react" in reactor.problem
        assert "was run in version 2" in reactor.problem


async def is_of_version(world, version):
    return any(f'"version":{version}'.encode() in value for _, value in await world.committed("progress"))


async def test_brokers_that_do_not_answer_hold_nothing_up(monkeypatch):
    """A rebalance waits for the step under way."""
    monkeypatch.setattr("annals.agents.reading.streams.ranged.WITHIN_S", 0.01)
    world = ForeignWorld()
    world.append(chain("p-1", 3))
    source, answers = world.source(), asyncio.Event()
    bounds = world.journal.bounds

    async def waiting():
        await answers.wait()
        return await bounds()

    world.journal.bounds = waiting
    with pytest.raises(UnreachableError, match=r"^person-0 of there: nothing was answered within "):
        await source.events_from(0, 10)
    answers.set()
    assert len((await source.events_from(0, 10)).events) == 3


async def test_a_run_of_a_foreign_journal_is_bounded_by_its_bytes_too(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.streams.ranged.RUN_BYTES", 1)
    world = ForeignWorld()
    world.append(chain("p-1", 3))
    source, offset = world.source(), 0
    for number in range(3):
        run = await source.events_from(offset, 500)
        assert ([event.event["version"] for event in run.events], run.next_offset) == ([number + 1], number + 1)
        assert not run.is_end
        offset = run.next_offset
    assert await source.events_from(offset, 500) == ([], 3, True)
