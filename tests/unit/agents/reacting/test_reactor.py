"""A reactor on a log in memory: each command once, each timer once, through the death of its process."""

import asyncio
import time

import pytest

from annals.agents.reacting.taking import TAKING_S
from annals.agents.reactions.reaction import Reacted, after
from annals.agents.waiting import LONG_S
from annals.schemas.progress import Progress
from annals.workers.reacting.log import KafkaReactionLog
from chained import chain
from following import soon, until
from head_starts import HeldJournal, Point, head_start
from publishing import at_each_step, eventually
from reactors import ALL, LATER, TIMERS, ReactingWorld, react_through_a_death
from reading_stores import Stores

EARLIER = "2026-11-21T09:29:00.000000Z"
MUCH_LATER = "2026-11-21T09:32:00.000000Z"


async def test_each_event_is_reacted_to_once_and_each_timer_fires_once_in_the_order_of_their_times():
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    await world.begin()
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: world.has(3))
        world.journal.append(events[3:])
        await eventually(lambda: world.has(6))
        world.clock.at = LATER
        await eventually(lambda: world.has(12))
        world.clock.at = EARLIER
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: world.has(13))
        world.clock.at = LATER
        await eventually(lambda: world.has(14))
    assert await world.said() == [*ALL, *TIMERS, "event 1 of p-2", "t1 is timer 1 of p-2"]
    ids = [identity for _, identity in await world.sent()]
    assert len(set(ids)) == 14


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_every_command_is_sent_once(is_carried_out, monkeypatch):
    """Killed at each request in turn; the next process goes on."""
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_EVENTS", 2)
    await at_each_step(killed_at, is_carried_out=is_carried_out)


async def killed_at(step, *, is_carried_out):
    world = ReactingWorld()
    has_died = await react_through_a_death(world, step, is_carried_out=is_carried_out)
    said = await world.said()
    assert [each for each in said if each.startswith("event")] == ALL
    assert [each for each in said if each.startswith("t")] == TIMERS
    return has_died


async def test_what_is_paused_neither_reacts_nor_fires_and_goes_on_where_it_stopped():
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    async with world.shard() as shard, world.reactor(shard) as reactor:
        assert reactor.phase == "paused"
        assert reactor.problem is None
        await world.begin()
        await eventually(lambda: world.has(3))
        world.switches.set("counting", "paused")
        await eventually(lambda: is_in(reactor, "paused"))
        world.journal.append(events[3:])
        world.clock.at = LATER
        await shard.until_offset(6, world.clock.monotonic() + 30)
        assert len(await world.said()) == 3
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(12))
    assert await world.said() == [*ALL, *TIMERS]


async def is_in(reactor, phase):
    return reactor.phase == phase


async def test_what_is_paused_is_no_problem_however_it_failed_before(monkeypatch):
    """Goes red when a process is not ready for a minute behind the pause of what failed again and again."""
    world = ReactingWorld()
    await world.begin()
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await eventually(lambda: is_in(reactor, "running"))
        monkeypatch.setattr("annals.agents.backoff.Backoff.is_lasting", True)
        assert "begins to react again and again" in reactor.problem
        world.switches.set("counting", "paused")
        await eventually(lambda: is_in(reactor, "paused"))
        assert reactor.problem is None


async def test_what_comes_behind_a_pause_that_was_answered_waits_for_the_next_resumption():
    """Goes red when the reaction does not ask, before it commits, what is to hold: whoever reads it later is late."""
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await world.begin()
        await eventually(lambda: world.has(3))
        world.switches.answered.append(("counting", "paused"))
        world.journal.append(events[3:])
        await eventually(lambda: is_in(reactor, "paused"))
        assert await world.said() == ALL[:3]
        assert (await world.progress()).position == 3
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(6))
        world.switches.answered.append(("counting", "paused"))
        world.clock.at = LATER
        await eventually(lambda: is_in(reactor, "paused"))
        assert await world.said() == ALL, "nor does a timer fire"
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(12))
    assert await world.said() == [*ALL, *TIMERS]


async def test_what_was_there_before_it_was_resumed_is_seen_and_sends_nothing():
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:4])
    await world.begin(quiet_until=4)
    async with world.shard() as shard, world.reactor(shard):
        world.journal.append(events[4:])
        await eventually(lambda: world.has(2))
        assert await world.said() == ALL[4:]
        world.clock.at = LATER
        await eventually(lambda: world.has(8))
    assert await world.said() == [*ALL[4:], *TIMERS]


async def test_a_new_version_is_quiet_until_it_has_come_as_far_as_the_old_one():
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard):
            await eventually(lambda: world.has(3))
            world.clock.at = LATER
            await eventually(lambda: world.has(6))
        world.journal.append(events[3:])
        async with world.reactor(shard, version=2):
            await eventually(lambda: world.has(9))
            assert (await world.said())[6:9] == ALL[3:6]

            async def has_caught_up():
                progress = await world.progress()
                return progress.version == 2 and progress.position == 6

            await eventually(has_caught_up)
            await eventually(lambda: world.has(12))
            assert await world.said() == [*ALL[:3], *TIMERS[:3], *ALL[3:], *TIMERS[3:]]
        async with world.reactor(shard) as old:
            await eventually(lambda: is_in(old, "stopped"))
            assert "was run in version 2, and this release has version 1" in old.problem
    assert (await world.progress()).version == 2


async def test_a_new_version_has_a_timer_fire_that_another_process_overtook():
    """An event fires the timers of its process alone: those of others, due before, wait for the clock."""
    world = ReactingWorld()
    first = chain("p-2", 1)
    world.journal.append([*chain("p-1", 1), *first, *chain("p-2", 1, first[0], recorded_at=LATER)])
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard):
            await eventually(lambda: world.has(4))
        async with world.reactor(shard, version=2):
            world.clock.at = MUCH_LATER
            await eventually(lambda: world.has(6))
    said = await world.said()
    assert said[:4] == ["event 1 of p-1", "event 1 of p-2", "t1 is timer 1 of p-2", "event 2 of p-2"]
    assert said[4:] == ["t1 is timer 1 of p-1", "t2 is timer 2 of p-2"]


async def test_a_reaction_that_fails_stops_at_that_event_until_it_is_resumed():
    world = ReactingWorld()
    world.journal.append(chain("p-1", 4))
    await world.begin()
    faults = [True]

    def failing(state, event):
        if event.version == 3 and faults:
            raise ValueError("no")
        return world.reaction.react(state, event)

    async with world.shard() as shard, world.reactor(shard, react=failing) as reactor:
        await eventually(lambda: is_in(reactor, "failed"))
        assert "person 'p-1' version 3, offset 2: ValueError at " in reactor.reason
        assert reactor.problem is None
        assert await world.said() == ALL[:2]
        faults.clear()
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(4))
    assert await world.said() == ALL[:4]


async def test_a_timer_that_sets_itself_again_for_the_same_time_fails_its_reaction_and_holds_nothing_else_up():
    """Goes red when the event behind it is waited for in one turn of the event loop, for ever."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", 2))
    await world.begin()

    def again(state, event):
        return Reacted(state, [], [after("again", 0)])

    async with world.shard() as shard, world.reactor(shard, react=again) as reactor:
        await eventually(lambda: is_in(reactor, "failed"))
        assert reactor.reason.startswith("person 'p-1' version 2, offset 1: 1,001 timers fired before it")


async def test_another_journal_stops_it():
    world = ReactingWorld()
    world.journal.append(chain("p-1", 3))
    await world.begin()
    await world.write_progress("reaction:counting", Progress(2, b"\x01\x71\x1e\x20" + bytes(32), version=1))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await eventually(lambda: is_in(reactor, "stopped"))
        assert "another journal" in reactor.problem
    await world.write_progress("reaction:counting", Progress(20, version=1))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await eventually(lambda: is_in(reactor, "stopped"))
        assert "ends at 3" in reactor.problem


@pytest.mark.parametrize("is_longer", [False, True])
async def test_a_journal_that_was_restored_from_a_copy_of_its_records_is_reacted_to_once(is_longer):
    """Its events stand elsewhere, without the markers between them."""
    world = ReactingWorld()
    events = chain("p-1", 6)
    for event in events[:3]:
        world.journal.append([event])
        world.journal.mark()
    await world.begin()
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: world.has(3))
    world.journal.records.clear()
    world.journal.append(events if is_longer else events[:4])
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: world.has(6 if is_longer else 4))
        world.clock.at = LATER
        await eventually(lambda: world.has(12 if is_longer else 8))
    count = 6 if is_longer else 4
    assert await world.said() == [*ALL[:count], *TIMERS[:count]]
    assert (await world.progress()).position == count


async def test_one_that_holds_commands_back_up_to_an_offset_that_is_another_one_now_stops():
    world = ReactingWorld()
    events = chain("p-1", 4)
    world.journal.append(events)
    await world.begin()
    await world.write_progress("reaction:counting", Progress(4, events[1].cid, version=1, quiet_until=6))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await eventually(lambda: is_in(reactor, "stopped"))
        assert "it is not known what offset 6, below which no commands are sent, is in it" in reactor.problem


async def test_what_comes_behind_an_end_that_was_lost_is_reacted_to_though_older_events_had_its_offsets():
    """Goes red when offsets alone say what sends nothing, or when only the owner knows that has seen the end."""
    world = ReactingWorld()
    events = chain("p-1", 4)
    world.journal.append(events[:2])
    await world.begin(quiet_until=4)
    async with world.shard() as shard:
        async with world.reactor(shard) as reactor:
            await eventually(lambda: is_in(reactor, "running"))
        world.journal.append(events[2:])
        async with world.reactor(shard):
            await eventually(lambda: world.has(2))
    assert await world.said() == ALL[2:4]


async def test_a_lost_end_that_nobody_has_judged_yet_changes_nothing_and_old_events_that_come_back_send_nothing():
    """Goes red when the end is believed before the reading shard has met the loss: it may be restored byte for byte."""
    world = ReactingWorld()
    events = chain("p-1", 5)
    world.journal.append(events[:4])
    await world.begin(quiet_until=4)
    async with world.shard() as shard:
        await eventually(lambda: has_read(shard, 4))
        del world.journal.records[2:]
        async with world.reactor(shard) as reactor:
            await eventually(lambda: is_told(reactor, "the journal ends at 2, and was read up to 4"))
            world.journal.append(events[2:])
            await eventually(lambda: world.has(1))
    assert await world.said() == ALL[4:5]


async def has_read(shard, offset):
    return shard.status().offset == offset


async def is_told(reactor, reason):
    return reason in reactor.reason


async def test_a_new_owner_reacts_from_a_restore_point_before_its_shard_has_read_anything():
    world = ReactingWorld()
    world.journal = HeldJournal()
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    await world.begin()
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: world.has(3))

        async def is_written():
            return (await world.progress()).position == 3

        await eventually(is_written)
    world.stores, world.journal.held_at = Stores(), 0
    world.journal.append(events[3:])
    world.clock.at = LATER
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, Point(world.journal.records, 5), margin=1) as ahead,
        world.reactor(ahead),
    ):
        await eventually(lambda: world.has(12))
        assert shard.status().offset == 0
        world.journal.release()
        await until(lambda: ahead.is_whole)
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: world.has(14))
    assert sorted(await world.said()) == sorted([*ALL, *TIMERS, "event 1 of p-2", "t1 is timer 1 of p-2"])
    ids = [identity for _, identity in await world.sent()]
    assert len(set(ids)) == 14


async def test_one_whose_progress_is_before_the_head_start_fires_no_timer_before_its_events():
    """It waits for the shard: the end of what the shard has is not the end of the journal."""
    world = ReactingWorld()
    world.journal = HeldJournal()
    events = chain("p-1", 6)
    world.journal.append(events)
    await world.begin()
    world.clock.at = LATER
    world.journal.held_at = 2
    async with (
        world.shard() as shard,
        head_start(shard, world.journal, Point(world.journal.records, 6)) as ahead,
        world.reactor(ahead),
    ):
        waiting = asyncio.create_task(ahead.until_offset(6, soon()))
        await until(lambda: not ahead.is_whole)
        world.journal.release(4)
        assert await shard.until_offset(4, soon())
        world.journal.release()
        await eventually(lambda: world.has(12))
        assert await waiting
    said = await world.said()
    assert [each for each in said if each.startswith("event")] == ALL
    assert [each for each in said if each.startswith("t")] == TIMERS


async def test_timers_by_the_clock_wait_for_all_events_however_few_a_run_has(monkeypatch):
    """Goes red when a run that ended early, by its bytes, is taken for the end: a later event may cancel a timer."""
    monkeypatch.setattr("annals.agents.reading.queries.run.RUN_BYTES", 1)
    world = ReactingWorld()
    world.journal.append(chain("p-1", 6))
    world.clock.at = LATER
    await world.begin()
    async with world.shard() as shard:
        await shard.until_offset(6, 1e9)
        async with world.reactor(shard):
            await eventually(lambda: world.has(12))
    assert await world.said() == [*ALL, *TIMERS]


async def test_timers_that_are_late_do_not_wait_for_events_that_come_meanwhile(monkeypatch):
    """Goes red where some fire, and the rest wait until no event comes any more: what the first lead to is events."""
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_EVENTS", 2)
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_TIMERS", 1)
    world, later, fired = ReactingWorld(), chain("p-2", 99), []
    world.journal.append(chain("p-1", 6))
    world.clock.at = LATER
    await world.begin()
    commit = KafkaReactionLog.commit

    async def with_more_events(log, writes):
        await commit(log, writes)
        fired.extend(each for each in writes.commands if b"is timer" in each.value and b"p-1" in each.value)
        if 0 < len(fired) < 6:
            world.journal.append([later.pop(0) for _ in later[:3]])

    monkeypatch.setattr(KafkaReactionLog, "commit", with_more_events)
    async with world.shard() as shard, world.reactor(shard):
        await until(lambda: len(fired) == 6)
        assert later, "events were still to come"
    said = await world.said()
    assert [each for each in said if each in TIMERS] == TIMERS


async def test_an_event_that_is_read_while_a_run_is_reacted_to_comes_before_timers_of_a_later_time():
    """Goes red where what is due once the reaction has ended fires, behind what there was when its run was read."""
    world, events = ReactingWorld(), chain("p-1", 2)
    world.journal.append(events[:1])
    await world.begin()
    async with world.shard() as shard:
        events_from = shard.events_from

        async def and_then_another(offset, limit):
            run = await events_from(offset, limit)
            if run.events and len(world.journal.records) == 1:
                world.journal.append(events[1:])
                assert await shard.until_offset(2, world.clock.monotonic() + 30)
                world.clock.at = LATER
            return run

        shard.events_from = and_then_another
        async with world.reactor(shard):
            await eventually(lambda: world.has(4))
    assert await world.said() == [*ALL[:2], *TIMERS[:2]]


async def test_no_timer_overtakes_an_event_that_has_arrived_and_was_not_read():
    """Goes red where the end of what a reading shard has read passes for that of what there is: it may be behind."""
    world, events, looked, free = ReactingWorld(), chain("p-1", 2), [], asyncio.Event()
    world.journal.append(events[:1])
    await world.begin()
    async with world.shard() as shard:
        settle, events_from = shard._losses.settle, shard.events_from

        async def busy(*arguments, **how):
            if len(world.journal.records) == 2:
                await free.wait()
            await settle(*arguments, **how)

        async def noted(offset, limit):
            looked.append(world.clock.at)
            return await events_from(offset, limit)

        shard._losses.settle, shard.events_from = busy, noted
        async with world.reactor(shard):
            await eventually(lambda: world.has(1))
            world.journal.append(events[1:])
            world.clock.at = LATER
            await until(lambda: looked.count(LATER) > 2)
            assert await world.said() == ALL[:1]
            free.set()
            await eventually(lambda: world.has(4))
    assert await world.said() == [*ALL[:2], *TIMERS[:2]]


async def test_a_clock_that_stepped_back_lets_no_timer_overtake_events_that_were_not_read(monkeypatch):
    """Goes red where up to when no event is left is remembered, by a clock that was ahead."""
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_EVENTS", 1)
    world = ReactingWorld()
    world.journal.append(chain("p-2", 1))
    world.clock.at = LATER
    await world.begin()

    def react(state, event):
        if event.aggregate_id == "p-1" and event.version == 3:
            world.clock.at = LATER  # and the time comes, before all is read
        return world.reaction.react(state, event)

    async with world.shard() as shard, world.reactor(shard, react=react):
        await eventually(lambda: world.has(2))
        world.clock.at = EARLIER
        world.journal.append(chain("p-1", 6))
        await eventually(lambda: world.has(14))
    assert (await world.said())[2:] == [*ALL, *TIMERS]


async def test_a_step_ends_when_a_slow_reaction_has_taken_its_time(monkeypatch):
    """Goes red where a step takes a whole run: a partition that is to move would wait for it, for minutes."""
    world, taken, transactions = ReactingWorld(), [], []
    world.journal.append(chain("p-1", 6))
    world.clock.at = LATER
    await world.begin()
    monkeypatch.setattr(world.clock, "monotonic", lambda: time.monotonic() + 0.7 * TAKING_S * len(taken))
    commit = KafkaReactionLog.commit

    async def noted(log, writes):
        await commit(log, writes)
        transactions.append(len(writes.commands))

    monkeypatch.setattr(KafkaReactionLog, "commit", noted)

    def slow(state, event):
        taken.append(event)
        return world.reaction.react(state, event)

    async with world.shard() as shard, world.reactor(shard, react=slow):
        await eventually(lambda: world.has(12))
    assert await world.said() == [*ALL, *TIMERS]
    assert max(transactions) <= 2


async def test_a_reaction_that_takes_long_lets_others_have_their_turn_between_two_events_and_two_timers():
    """Goes red where a run is one turn of the event loop: it may have 500 events, and each may take seconds."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", 6))
    world.clock.at = LATER
    await world.begin()
    turns, seen = [0], []

    def slow(state, event):
        time.sleep(2 * LONG_S)
        seen.append(turns[0])
        return world.reaction.react(state, event)

    async def others():
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    async with world.shard() as shard, world.reactor(shard, react=slow):
        await eventually(lambda: world.has(12))
    beside.cancel()
    assert len(set(seen)) == 12
