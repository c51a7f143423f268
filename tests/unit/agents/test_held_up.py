"""Whatever an opening or a step waits for, readiness names it, and says no more once it goes on."""

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from annals.agents.backoff import Backoff
from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.delivering.loading import Loader
from annals.agents.publishing.share import Share
from annals.schemas.progress import Progress
from annals.workers.reacting.log import KafkaReactionLog
from chained import chain
from following import Clock, until
from head_starts import HeldJournal
from publishing import World, eventually
from reactors import ReactingWorld

LASTS = "its opening, or a step of it, has lasted for more than"
PATIENCE_S = 0.2
BEHIND = "waiting for the reading shard: at offset 0 of 3"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("annals.agents.backoff.LASTING_S", PATIENCE_S)


async def test_a_piece_of_work_that_fails_is_told_no_more():
    backoff = Backoff(1, 1)
    with suppress(ValueError), backoff.piece():
        assert backoff.held_up("waiting") == ""
        await until(lambda: bool(backoff.held_up("")))
        assert backoff.held_up("waiting").endswith(" s: waiting")
        raise ValueError
    assert backoff.held_up("waiting") == ""


async def reacting(world, shard):
    await world.begin()
    await world.write_progress(world.reader, Progress(3, world.journal.last, version=1))
    return world.reactor(shard), f"counting in person-0 does not react: {LASTS} 0 s: {BEHIND}"


async def publishing(world, shard):
    await world.subscribe("all")
    await world.write_progress("live", Progress(3, world.journal.last))
    return world.publisher(shard), f"person-0 is not published: {LASTS} 0 s: {BEHIND}"


async def delivering(world, shard):
    await world.subscribe("all", delivery="acknowledged")
    await world.write_progress("live", Progress(0))
    await world.write_progress("all", Progress(3, world.journal.last, incarnation=1))
    return world.publisher(shard), f"person-0 for all: it is published slowly: {LASTS} 0 s"


WHO = {"reactor": (ReactingWorld, reacting), "publisher": (partial(World, "all"), publishing)}
WHO["delivery"] = (partial(World, "all"), delivering)


@pytest.mark.parametrize("who", WHO)
async def test_who_waits_for_a_reading_shard_says_so(who):
    """Goes red where it waits for ever with a worker that is ready: a shard that comes no further may say nothing."""
    make, begin = WHO[who]
    world, events = make(), chain("p-1", 3)
    world.journal = HeldJournal()
    world.journal.append(events)
    world.journal.last, world.journal.held_at = events[-1].cid, 0
    async with world.shard() as shard:
        beginning, said = await begin(world, shard)
        async with beginning as working:
            assert working.problem is None
            await until(lambda: working.problem == said)
            world.journal.release()
            await until(lambda: working.problem is None)


async def test_who_waits_in_the_midst_of_a_step_says_so(monkeypatch):
    """Goes red where only an opening is told."""
    world, held = ReactingWorld(), asyncio.Event()
    world.journal.append(chain("p-1", 3))
    await world.begin()
    until_current = world.switches.until_current

    async def current():
        await held.wait()
        await until_current()

    monkeypatch.setattr(world.switches, "until_current", current)
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await until(lambda: reactor.problem == f"counting in person-0 does not react: {LASTS} 0 s")
        held.set()
        await until(lambda: reactor.problem is None)


@pytest.mark.parametrize(
    ("delivery", "where"), [("acknowledged", (Loader, "next_run")), ("stream", (CatchUp, "_write"))]
)
async def test_a_subscription_that_waits_in_the_midst_of_a_step_says_so(monkeypatch, delivery, where):
    """Goes red where only the opening of a delivery or a catch-up is told: it waits with a worker that is ready."""
    world, held, events = World("all"), asyncio.Event(), chain("p-1", 3)
    world.journal.append(events)
    await world.subscribe("all", delivery=delivery)
    await world.write_progress("live", Progress(3, events[-1].cid))
    await world.write_progress("all", Progress(0, incarnation=1))
    goes_on = getattr(*where)

    async def later(*arguments):
        await held.wait()
        return await goes_on(*arguments)

    monkeypatch.setattr(*where, later)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.problem == f"person-0 for all: it is published slowly: {LASTS} 0 s")
        held.set()
        await until(lambda: publisher.problem is None)


async def test_a_turn_among_others_is_waited_for_however_long_it_takes():
    """Goes red where each of a hundred that catch up is a problem, since the others come before it."""
    share, backoff = Share(Clock()), Backoff(1, 1)

    async def wait():
        with backoff.piece():
            async with share.turn(backoff.aside()):
                await until(lambda: bool(backoff.held_up("")))

    async with share.turn():
        waiting = asyncio.create_task(wait())
        told = asyncio.get_running_loop().time() + 2 * PATIENCE_S
        await until(lambda: asyncio.get_running_loop().time() > told)
        assert backoff.held_up("") == ""
    await waiting
    assert backoff.held_up("") == ""


async def test_who_removes_rows_of_another_version_waits_rightly_while_its_partition_may_move(monkeypatch):
    """Goes red where a wait for a rebalance, or for a quota, passes for an opening that does not end."""
    world, events, waits = ReactingWorld(), chain("p-1", 3), asyncio.Event()
    world.journal.append(events)
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard):
            await eventually(lambda: world.has(3))
        rows = KafkaReactionLog.rows

        async def and_then_suspended(log):
            async for each in rows(log):
                yield each
            await reactor.suspend()
            waits.set()

        monkeypatch.setattr(KafkaReactionLog, "rows", and_then_suspended)
        async with world.reactor(shard, version=2) as reactor:
            await waits.wait()
            told = asyncio.get_running_loop().time() + 2 * PATIENCE_S
            await until(lambda: asyncio.get_running_loop().time() > told)
            assert reactor.problem is None
            reactor.resume()
            await until(lambda: reactor.phase == "running")
