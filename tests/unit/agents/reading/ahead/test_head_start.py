"""A head start: it answers from a restore point while its shard is held back, and leaves when that has come as far."""

import asyncio
import time

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.ports import NotIndexedError
from annals.schemas.restore_point import LIST, Head, decode_list, encode_heads
from chained import chain
from following import Clock, Damages, running, soon, until
from head_starts import Beside, HeldJournal, Point, head_start
from reading_stores import Stores

ADA, BOB = chain("p-1", 6), chain("p-2", 3)
FORK = chain("p-1", 2, after=ADA[1], command_id="zombie")
EVENTS = [*ADA[:3], *BOB[:2], FORK[1], *ADA[3:], BOB[2]]  # 10 records; the one at offset 5 is void


def held(events=EVENTS, at=0):
    journal = HeldJournal(events)
    journal.held_at = at
    return journal


def shard(journal, stores=None):
    return Shard(REGISTRY["person"], 0, 1, stores or Stores(), journal, journal, Clock(), Damages())


async def is_ahead(ahead):
    await until(lambda: not ahead.is_whole)


@pytest.mark.parametrize("position", [6, 7, 10], ids=["at what is wanted", "behind it", "at the end"])
async def test_it_answers_before_the_shard_has_read_anything(position):
    journal = held()
    point = Point(journal.records, position)
    async with running(shard(journal), journal) as here, head_start(here, journal, point) as ahead:
        assert await ahead.until_offset(6, soon())
        assert here.status().offset == 0
        status = ahead.status()
        assert (status.phase, status.reached, status.end) == ("reading", True, 10)
        assert await ahead.until_offset(10, soon())
        run = await ahead.events_from(6, 100)
        assert [(each.offset, each.cid) for each in run.events] == [
            (6, ADA[3].cid), (7, ADA[4].cid), (8, ADA[5].cid), (9, BOB[2].cid),
        ]  # fmt: skip
        assert run.next_offset == 10
        assert await ahead.last_before(8) == ADA[4].cid
        assert await ahead.offset_of("p-1", 5) == 7
        assert await ahead.offset_of("p-1", 7) is None
        assert await ahead.offset_of("p-9", 1) is None


async def test_what_is_older_is_said_not_to_be_there():
    journal = held()
    async with running(shard(journal), journal) as here, head_start(here, journal, Point(journal.records, 6)) as ahead:
        assert await ahead.until_offset(6, soon())
        for asked in (ahead.events_from(5, 9), ahead.last_before(6), ahead.last_before(2), ahead.offset_of("p-2", 2)):
            with pytest.raises(NotIndexedError):
                await asked
        assert not await ahead.until_offset(5, time.monotonic() + 0.05)
        event = await ahead.event_at(3)
        assert (event.cid, event.event["version"]) == (BOB[0].cid, 1)
        assert (await ahead.event_at(7)).cid == ADA[4].cid
        assert await ahead.event_at(99) is None
        journal.release()
        assert await ahead.until_offset(5, soon())
        assert ahead.is_whole
        assert (await ahead.events_from(5, 1)).events[0].cid == ADA[3].cid
        assert await ahead.last_before(2) == ADA[1].cid


async def test_it_follows_the_journal_until_the_shard_has_come_as_far():
    journal, beside = held(), Beside()
    more = chain("p-1", 3, after=ADA[-1])
    async with (
        running(shard(journal), journal) as here,
        head_start(here, journal, Point(journal.records, 7), beside) as ahead,
    ):
        assert await ahead.until_offset(10, soon())
        journal.append(more[:2])
        await asyncio.wait_for(ahead.until_behind(11), 10)
        assert [each.cid for each in (await ahead.events_from(10, 9)).events] == [each.cid for each in more[:2]]
        journal.release(5)
        assert await here.until_offset(5, soon())
        assert not ahead.is_whole
        waiting = asyncio.create_task(ahead.until_behind(12))
        journal.release()
        await until(lambda: ahead.is_whole)
        assert here.status().offset == 12
        journal.append(more[2:])
        await asyncio.wait_for(waiting, 60)
        assert (await ahead.events_from(12, 9)).events[0].cid == more[2].cid
        assert ahead.status().offset == 13
    assert (beside.begins, beside.differences, beside.opened) == (1, 0, 1)


async def test_a_shard_that_is_near_needs_none():
    journal, beside = held(at=8), Beside()
    point = Point(journal.records, 10)
    async with (
        running(shard(journal), journal) as here,
        head_start(here, journal, point, beside, least_saved=3) as ahead,
    ):
        assert await here.until_offset(8, soon())
        assert not await ahead.until_offset(10, time.monotonic() + 0.3)
        assert ahead.problem is None
        journal.release()
        assert await ahead.until_offset(10, soon())
    assert beside.opened == 0


def without(point):
    point.cid = None


def of_a_release_before(point):
    point.parts.update(encode_heads(7, {b"p-1": Head(4, None)}))
    point.name(decode_list(point.parts[LIST]))


def a_part_is_gone(point):
    del point.parts["heads/7"]


def of_another_journal(point):
    point.name(decode_list(point.parts[LIST])._replace(last_offset=3))


def an_end_that_is_wrong(point):
    point.make(10, p_1=Head(5, None, ADA[4].cid))


def a_void_that_is_not_named(point):
    del point.parts["voids"]
    point.name(decode_list(point.parts[LIST]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without, "none has been made"),
        (of_a_release_before, "heads/7 does not say where chains end"),
        (a_part_is_gone, "heads/7 is not in the topic"),
        (of_another_journal, "is not at offset 3"),
        (an_end_that_is_wrong, "version"),
        (a_void_that_is_not_named, "void events that it does not name"),
    ],
)
async def test_one_that_is_of_no_use_is_passed_over_and_the_reason_is_told(spoil, reason):
    journal, beside = held(), Beside()
    point = Point(journal.records, 10)
    spoil(point)
    async with (
        running(shard(journal), journal) as here,
        head_start(here, journal, point, beside, margin=5) as ahead,
    ):
        waiting = asyncio.create_task(ahead.until_offset(10, soon()))
        await until(lambda: reason in (ahead.problem or ""))
        assert "is not published yet" in ahead.problem
        assert "at offset 0 of 10" in ahead.problem
        journal.release()
        assert await waiting
        assert ahead.problem is None
    assert beside.begins == 0


async def test_where_there_is_a_copy_of_an_event_the_whole_journal_is_read():
    """Whether the original is before the place or behind it cannot be told."""
    journal = held([*ADA[:4], ADA[2], *ADA[4:]])
    point = Point(journal.records, 7)
    async with running(shard(journal), journal) as here:
        async with head_start(here, journal, point, margin=0) as ahead:
            assert await ahead.until_offset(7, soon())
            assert not ahead.is_whole
        async with head_start(here, journal, point, margin=4) as ahead:
            waiting = asyncio.create_task(ahead.until_offset(7, soon()))
            await until(lambda: "there is a copy" in ahead.reason)
            journal.release()
            assert await waiting


async def test_other_events_than_the_shard_finds_are_told_and_it_ends():
    """A restore point that its writer proved wrongly: what it says is believed until the journal is read."""
    forked = chain("p-1", 1, after=FORK[1], command_id="zombie")
    journal, beside = held([*ADA[:3], *FORK, *BOB, *forked]), Beside()
    point = Point(journal.records, None)
    point.make(5, p_1=Head(4, None, FORK[1].cid))
    async with (
        running(shard(journal), journal) as here,
        head_start(here, journal, point, beside) as ahead,
    ):
        assert await ahead.until_offset(9, soon())
        assert len((await ahead.events_from(5, 9)).events) == 4
        journal.release()
        await until(lambda: beside.differences == 1)
        assert ahead.is_whole
        assert "at offset 8 counts in one, and not in the other" in ahead.reason
        assert len((await ahead.events_from(5, 9)).events) == 3
        assert await ahead.until_offset(9, soon())
