"""A reaction that raises, hangs or wants what cannot be stops at that event, by name; what was before it is sent."""

import time

import msgspec
import pytest

from annals.agents.reactions.reaction import Reacted, SetTimer, TimerFired, after
from annals.schemas.commands import command
from annals.schemas.kinds.person import RenamePerson
from chained import chain
from leaving import LEAVING
from publishing import eventually
from reactors import ALL, COUNTING, LATER, TIMERS, ReactingWorld, Seen

BAD = 3


def raising(error):
    def react(state, event):
        raise error

    return react


def hanging(state, event):
    while True:
        time.sleep(60)


def saying(*commands):
    return lambda state, event: Reacted(state, commands)


def without_end(state, event):
    def commands():
        while True:
            yield command("person", "log", RenamePerson(name="x" * (1 << 20)))

    return Reacted(state, commands())


REACTS = {
    "ValueError at ": raising(ValueError("a secret")),
    "FileNotFoundError at ": raising(FileNotFoundError("a secret")),
    "TimeoutError at ": raising(TimeoutError("a secret")),
    **{f"{name} at ": raising(error()) for name, error in LEAVING.items()},
    "it took longer than 0.2 s": hanging,
    "TypeError at ": lambda state, event: None,
    "AttributeError at ": saying("a secret"),
    "its commands have more than 16,777,216 bytes": without_end,
    "there is no topic commands.nobody": saying(command("nobody", "a", RenamePerson(name="n"))),
    "is more than commands.person takes: 8,388,608 bytes": saying(
        command("person", "a", RenamePerson(name="x" * (9 << 20)))
    ),
    "is more than timers.counting takes: 1,048,576 bytes": lambda state, event: Reacted(
        state, [], [after("x" * (2 << 20), 10)]
    ),
    "its state could not be read again as Seen": lambda state, event: Reacted(
        msgspec.structs.replace(state, events="a secret")
    ),
    "the name of a timer is no text": lambda state, event: Reacted(state, [], [after("a secret \ud800", 10)]),
    "ValueError at annals.agents.reactions": lambda state, event: Reacted(state, [], [SetTimer("t", after_s=1e30)]),
}


async def is_in(reactor, phase):
    return reactor.phase == phase


@pytest.mark.parametrize("why", REACTS)
async def test_whatever_a_reaction_does_it_stops_at_that_event_and_goes_on_when_it_is_mended(why, monkeypatch):
    if REACTS[why] is hanging:
        monkeypatch.setattr("annals.agents.time_limit.LONGEST_S", 0.2)
    world = ReactingWorld()
    world.journal.append(chain("p-1", 6))
    await world.begin()
    faults = [True]

    def react(state, event):
        return (REACTS[why] if event.version == BAD and faults else COUNTING.react)(state, event)

    async with world.shard() as shard, world.reactor(shard, react=react) as reactor:
        await eventually(lambda: is_in(reactor, "failed"))
        assert f"person 'p-1' version {BAD}, offset {BAD - 1}: " in reactor.reason
        assert why in reactor.reason
        assert "secret" not in reactor.reason
        assert reactor.problem is None  # the role goes on
        assert await world.said() == ALL[: BAD - 1]
        await eventually(lambda: has_kept(world, reactor.reason[:1_000]))
        faults.clear()
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(6))
    assert await world.said() == ALL
    assert (await world.progress()).failure == ""


async def has_kept(world, reason):
    """Whether the topic of progress says why it failed, at the place where it did."""
    progress = await world.progress()
    return progress.failure == reason and progress.position == BAD - 1


async def test_why_it_failed_is_said_until_the_event_is_passed_whatever_comes_of_it():
    """Goes red where a reaction that no longer wants the event is shown as failed for as long as nothing changes."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", BAD))
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard, react=raising(ValueError("a secret"))) as reactor:
            await eventually(lambda: is_in(reactor, "failed"))
            reason = reactor.reason
            await eventually(lambda: is_said(world, reason))
        async with world.reactor(shard, react=raising(ValueError("a secret"))) as reactor:
            await eventually(lambda: is_in(reactor, "failed"))  # in another process: it is the same
        assert await is_said(world, reason)
        async with world.reactor(shard, react=lambda state, event: Reacted(state)):
            await eventually(lambda: is_said(world, ""))
    assert (await world.progress()).position == BAD


async def is_said(world, reason):
    return (await world.progress()).failure == reason


async def test_ten_thousand_commands_of_one_event_are_one_transaction():
    world = ReactingWorld()
    world.journal.append(chain("p-1", 1))
    await world.begin()
    many = [command("person", f"p-{number}", RenamePerson(name=str(number))) for number in range(10_000)]
    async with world.shard() as shard, world.reactor(shard, react=lambda state, _: Reacted(state, many)):
        await eventually(lambda: world.has(10_000))
    sent = await world.sent()
    assert [said for said, _ in sent] == [str(number) for number in range(10_000)]


async def test_a_timer_that_cannot_be_taken_keeps_nothing_back_that_was_due_before_it():
    """Goes red where a step that fails at a timer is thrown away, with the timers that fired in it."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", 6))
    await world.begin()
    world.clock.at = LATER
    faults = [True]

    def react(state, event):
        if faults and isinstance(event.message, TimerFired) and event.message.name == f"t{BAD}":
            raise ValueError("a secret")
        return COUNTING.react(state, event)

    async with world.shard() as shard, world.reactor(shard, react=react) as reactor:
        await eventually(lambda: is_in(reactor, "failed"))
        assert reactor.reason.startswith(f"person 'p-1', timer 't{BAD}' of ")
        assert await world.said() == [*ALL, *TIMERS[: BAD - 1]]
        faults.clear()
        world.switches.set("counting", "active")
        await eventually(lambda: world.has(12))
    assert await world.said() == [*ALL, *TIMERS]


async def test_a_state_that_this_release_cannot_read_fails_the_reaction_and_is_not_forgotten():
    """Goes red where processes begin anew, without a word, since somebody changed their state and not the version."""
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:BAD])
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard):
            await eventually(lambda: world.has(BAD))
        world.journal.append(events[BAD:])
        async with world.reactor(shard, state=Renamed, react=by_name) as reactor:
            await eventually(lambda: is_in(reactor, "failed"))
            assert (
                "person 'p-1': the state that is kept by version 1: it is no Renamed of this release" in reactor.reason
            )
            assert reactor.problem is None
        async with world.reactor(shard, state=Renamed, react=by_name, version=2):
            await eventually(lambda: world.has(6))
    assert await world.said() == [*ALL[:BAD], "3 then", "4 then", "5 then"]


@pytest.mark.parametrize("error", [*LEAVING.values(), lambda: RuntimeError("a secret")], ids=[*LEAVING, "RuntimeError"])
async def test_a_state_whose_type_raises_what_it_likes_fails_the_reaction_where_it_is_read(error):
    """Goes red where its reactor opens again and again, and nobody is told that the reaction has failed."""
    faults = []

    class Checked(msgspec.Struct, frozen=True):
        events: int = 0

        def __post_init__(self):
            if faults:
                raise error()

    def react(state, event):
        return Reacted(Checked(state.events + 1), COUNTING.react(Seen(state.events), event).commands)

    world = ReactingWorld()
    world.journal.append(chain("p-1", BAD))
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard, state=Checked, react=react):
            await eventually(lambda: world.has(BAD))
        faults.append(1)
        async with world.reactor(shard, state=Checked, react=react) as reactor:
            await eventually(lambda: is_in(reactor, "failed"))
            where = "person 'p-1': the state that is kept by version 1"
            assert reactor.reason.startswith(f"{where}: {type(error()).__name__} at ")
            assert "secret" not in reactor.reason
            faults.clear()
            world.switches.set("counting", "active")
            await eventually(lambda: is_in(reactor, "running"))


class Renamed(msgspec.Struct, frozen=True):
    """How many events of a person were seen, in another way."""

    events: str = "0"


def by_name(state, event):
    said = RenamePerson(name=f"{state.events} then")
    return Reacted(Renamed(str(int(state.events) + 1)), [command("person", "log", said)])


class Tally(msgspec.Struct):
    """How many events of a person were seen, in a state that can be changed in place."""

    events: dict[str, int] = {}


async def test_a_state_that_a_reaction_changes_in_place_is_kept_as_any_other():
    """Goes red where what is returned is compared with itself: it would be forgotten with its process."""
    world = ReactingWorld()
    events = chain("p-1", 6)
    world.journal.append(events[:BAD])
    await world.begin()

    def counting(state, event):
        state.events["seen"] = state.events.get("seen", 0) + 1
        return Reacted(state, [command("person", "log", RenamePerson(name=f"event {state.events['seen']} of p-1"))])

    async with world.shard() as shard:
        async with world.reactor(shard, state=Tally, react=counting):
            await eventually(lambda: world.has(BAD))
        world.journal.append(events[BAD:])
        async with world.reactor(shard, state=Tally, react=counting):
            await eventually(lambda: world.has(6))
    assert await world.said() == ALL
