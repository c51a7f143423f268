"""What one subscription meets, by a defect or by what strangers wrote of it, stops it alone: the others go on."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from annals.agents.defects import MOST_IN_A_ROW
from annals.agents.publishing import catch_up, selection
from annals.agents.publishing.delivering import shard as delivering
from annals.agents.publishing.matching import Matcher
from annals.agents.publishing.publisher import PUBLISHING
from annals.agents.publishing.restored import beyond_end
from annals.schemas.cid import cid_text
from annals.schemas.progress import Progress
from annals.schemas.subscription import Retry
from chained import chain
from following import until
from lacking import LACKING
from publishing import World, eventually, shown

RETRY = Retry(max_attempts=2, first_delay_ms=1, max_delay_ms=2, ack_timeout_ms=60_000)
WANTED = ({"exact": {"subject": "p-1"}},)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    for module in (catch_up, delivering):
        monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)
        monkeypatch.setattr(module, "LAST_RETRY_S", 0.002)


async def has(world, name, count):
    return len(await world.received(name)) >= count


async def is_paused(world, name):
    return name in world.subscriptions.paused


def failing(monkeypatch, target, method, name, times=10**9, error=ZeroDivisionError):
    """Have a method raise for one subscription; return how often it did."""
    original, failed = getattr(target, method), []

    async def fails(self, *more):
        if self.subscribed.name == name and len(failed) < times:
            failed.append(1)
            raise error("what it was given") if isinstance(error, type) else error()
        return await original(self, *more)

    monkeypatch.setattr(target, method, fails)
    return failed


async def begun(world, name, **definition):
    world.journal.append(chain("p-1", 3))
    await world.subscribe("other")
    await world.subscribe(name, **definition)


KINDS = {
    "catch-up": (catch_up.CatchUp, {}),
    "delivery": (delivering.DeliveryShard, {"delivery": "acknowledged", "retry": RETRY, "ordered": False}),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_fails_again_and_again_is_paused_and_the_publisher_never_opens_again(kind, monkeypatch):
    """Goes red when a task's exception is the publisher's: every other subscription of the partition began again."""
    made, definition = KINDS[kind]
    world = World("bad", "other")
    told_of: list[Exception] = []
    monkeypatch.setattr(world.counts, "defect", told_of.append)
    failed = failing(monkeypatch, made, "_step", "bad")
    await begun(world, "bad", **definition)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        phases, become = set(), publisher._become

        def told(*more):
            phases.add(more[0])
            become(*more)

        await eventually(lambda: has(world, "other", 3))
        monkeypatch.setattr(publisher, "_become", told)
        await eventually(lambda: is_paused(world, "bad"))
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: has(world, "other", 4))
        assert publisher.phase == PUBLISHING
    assert phases <= {"closed"}
    assert len(failed) == len(told_of) == MOST_IN_A_ROW
    reason = world.subscriptions.paused["bad"]
    assert reason.startswith("behind offset 0 it failed with ZeroDivisionError at test_one_stops_alone:")
    assert "what it was given" not in reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "times"),
    [(ZeroDivisionError, MOST_IN_A_ROW - 1), (OSError, 9), *((each, 9) for each in LACKING.values())],
)
async def test_what_fails_for_a_while_goes_on_with_nothing_lost(kind, error, times, monkeypatch):
    made, definition = KINDS[kind]
    world = World("bad", "other")
    failed = failing(monkeypatch, made, "_step", "bad", times, error)
    await begun(world, "bad", **definition)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, "bad", 3))

        async def is_well():
            return publisher.problem is None

        await eventually(is_well)
    assert len(failed) == times
    assert world.subscriptions.paused == {}
    assert await world.cids("bad") == await world.cids("other")


async def test_a_failure_is_named_while_it_is_tried_again(monkeypatch):
    world = World("bad", "other")
    failing(monkeypatch, delivering.DeliveryShard, "_step", "bad", error=MemoryError)
    await begun(world, "bad", **KINDS["delivery"][1])
    async with world.shard() as shard, world.publisher(shard) as publisher:

        async def is_told():
            return "person-0 for bad: it failed with MemoryError at " in str(publisher.problem)

        await eventually(is_told)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_waits_before_it_tries_again_holds_up_no_rebalance(kind, monkeypatch):
    """Goes red when the partition cannot move before the wait is over."""
    for module in (catch_up, delivering):
        monkeypatch.setattr(module, "FIRST_RETRY_S", 3_600)
        monkeypatch.setattr(module, "LAST_RETRY_S", 3_600)
    made, definition = KINDS[kind]
    world = World("bad", "other")
    failed = failing(monkeypatch, made, "_step", "bad")
    await begun(world, "bad", **definition)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: bool(failed))
        suspending = asyncio.create_task(publisher.suspend())
        try:
            await until(suspending.done)
        finally:
            suspending.cancel()  # and what it waits for
    assert world.subscriptions.paused == {}


@pytest.mark.parametrize("definition", [{}, {"delivery": "acknowledged", "retry": RETRY}], ids=["stream", "delivery"])
@pytest.mark.parametrize("is_live", [True, False])
async def test_an_event_that_cannot_be_judged_pauses_its_subscription_and_no_other(definition, is_live, monkeypatch):
    """Goes red when what a filter raises is the publisher's: it opens again and again, and nobody gets anything."""
    original = Matcher.matches

    def matches(self, attributes, data):
        if attributes["sequence"].endswith("3"):
            raise ZeroDivisionError
        return original(self, attributes, data)

    monkeypatch.setattr(Matcher, "matches", matches)
    world = World("bad", "other")
    events = chain("p-1", 4)
    if not is_live:
        world.journal.append(events)
    await world.subscribe("other")
    await world.subscribe("bad", filters=WANTED, **definition)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        if is_live:
            world.journal.append(events)
        await eventually(lambda: has(world, "other", 4))
        if not definition:
            await eventually(lambda: has(world, "bad", 2))
            await eventually(lambda: is_paused(world, "bad"))
            assert await world.cids("bad") == shown(events[:2])
        else:
            await eventually(lambda: has(world, "bad", 1))
            await eventually(lambda: is_paused(world, "bad"))
        assert publisher.phase == PUBLISHING
    reason = world.subscriptions.paused["bad"]
    assert reason.startswith("person 'p-1' version 3, offset 2: it failed with ZeroDivisionError at ")


def test_what_stops_a_subscription_is_said_by_one_list():
    assert {each.__name__ for each in selection.CANNOT_GO_ON} == {
        "OverBudgetError", "VersionNotHadError", "JudgingFailedError",
    }  # fmt: skip


FURTHER = [
    ("stream", {}, Progress(99, None, 1)),
    ("delivered", {"delivery": "acknowledged", "retry": RETRY}, Progress(99, None, 1)),
    ("resting", {"delivery": "acknowledged", "retry": RETRY}, Progress(99, None, 1, is_resting=True)),
]


@pytest.mark.parametrize(("definition", "forged"), [each[1:] for each in FURTHER], ids=[each[0] for each in FURTHER])
async def test_a_progress_behind_the_journals_end_pauses_its_subscription(definition, forged):
    """Goes red when it waits in silence: what comes below that offset is never published to it."""
    world = World("bad", "other")
    world.journal.append(chain("p-1", 3))
    await world.subscribe("other")
    await world.subscribe("bad", **definition)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "bad", 1))
        await eventually(lambda: has(world, "other", 3))
    await world.write_progress("bad", forged)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: is_paused(world, "bad"))
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: has(world, "other", 4))
        assert publisher.phase == PUBLISHING
    reason = world.subscriptions.paused["bad"]
    assert reason.startswith("it has come to offset 99 of person-0, which ends at 3: ")
    assert reason.endswith("delete it and its topic, and put it again with the start that it is to have")


ASTRAY = {"ahead": (2, 0), "behind": (1, 2)}
"""Where a progress is, and the event that it names, of those that are written or restored by somebody."""


@pytest.mark.parametrize(("position", "named"), ASTRAY.values(), ids=ASTRAY)
@pytest.mark.parametrize(("definition", "forged"), [each[1:] for each in FURTHER], ids=[each[0] for each in FURTHER])
async def test_a_progress_whose_event_is_not_the_one_before_it_pauses_its_subscription(
    definition, forged, position, named
):
    """Goes red when events are passed over that it never had, or come again, and nobody says so."""
    world = World("bad", "other")
    events = chain("p-1", 3)
    world.journal.append(events)
    await world.subscribe("other")
    await world.subscribe("bad", **definition)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "bad", 1))
        await eventually(lambda: has(world, "other", 3))
    had = len(await world.received("bad"))
    await world.write_progress("bad", replace(forged, position=position, cid=events[named].cid))
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: is_paused(world, "bad"))
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: has(world, "other", 4))
        assert publisher.phase == PUBLISHING
    assert len(await world.received("bad")) == had
    reason = world.subscriptions.paused["bad"]
    assert reason.startswith(
        f"it has come to offset {position} of person-0, behind event {cid_text(events[named].cid)}, and the last event "
        f"before it is {cid_text(events[position - 1].cid)}: the journal lost events that it has had, or no worker "
        "has written that in the topic of progress"
    )


async def test_a_progress_that_is_read_while_it_is_delivered_is_held_to_the_journal_too():
    world = World("bad")
    world.journal.append(chain("p-1", 3))
    await world.subscribe("bad", delivery="acknowledged", retry=RETRY)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "bad", 1))
        await world.write_progress("bad", Progress(99, None, 1))
        other = world.logs().delivering("bad")
        await other.fence()
        await other.close()
        await eventually(lambda: is_paused(world, "bad"))
    assert "offset 99 of person-0, which ends at 3" in world.subscriptions.paused["bad"]


async def test_it_is_paused_once_however_long_that_takes(monkeypatch):
    """Goes red when each step pauses it again while it is not paused yet: without end, where nobody may write that."""
    world, asked = World("bad", "other"), []
    await begun(world, "bad", delivery="acknowledged", retry=RETRY)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "bad", 1))
        await eventually(lambda: has(world, "other", 3))

    async def refused(name, *_):
        asked.append(name)

    monkeypatch.setattr(world.subscriptions, "pause", refused)
    async with world.shard() as shard, world.publisher(shard):
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: has(world, "other", 4))
        await world.write_progress("bad", Progress(99, None, 1))
        other = world.logs().delivering("bad")
        await other.fence()
        await other.close()
        await until(lambda: bool(asked))
        for count in range(5, 9):
            world.journal.append(chain(f"p-{count}", 1))
            await eventually(lambda count=count: has(world, "other", count))
    assert asked == ["bad"]


async def test_a_journal_that_lost_its_end_is_for_who_reads_it():
    """Goes red when a subscription that was ahead of what is live is paused, and said to be of no worker."""
    world = World("ahead")
    world.journal.append(chain("p-1", 3))
    async with world.shard() as shard:
        await until(lambda: shard.status().offset == 3)
        del world.journal.records[2:]
        await shard._leave("the journal ends at offset 2")
        assert await beyond_end(shard, world.journal, {"ahead": 3}, 1) == {}
