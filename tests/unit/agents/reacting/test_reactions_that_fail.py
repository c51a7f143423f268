"""A reaction that raises, hangs or wants what cannot be stops at that event, by name; what was before it is sent."""

import time

import msgspec
import pytest

from annals.agents.reactions.reaction import Reacted, SetTimer
from annals.schemas.commands import command
from annals.schemas.kinds.person import RenamePerson
from chained import chain
from publishing import eventually
from reactors import ALL, COUNTING, ReactingWorld

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
    "SystemExit at ": raising(SystemExit("a secret")),
    "it took longer than 0.2 s": hanging,
    "TypeError at ": lambda state, event: None,
    "AttributeError at ": saying("a secret"),
    "its commands have more than 16,777,216 bytes": without_end,
    "there is no topic commands.nobody": saying(command("nobody", "a", RenamePerson(name="n"))),
    "is more than commands.person takes: 8,388,608 bytes": saying(
        command("person", "a", RenamePerson(name="x" * (9 << 20)))
    ),
    "is more than timers.counting takes: 1,048,576 bytes": lambda state, event: Reacted(
        msgspec.structs.replace(state, events="x" * (2 << 20))
    ),
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
