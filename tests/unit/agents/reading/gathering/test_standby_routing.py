"""Where the owner of a partition does not answer, a standby does, says so, and never answers from behind."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from annals.agents.reading.found import EventFilter
from annals.agents.reading.gathering.all_shards import AllShards
from annals.agents.reading.gathering.cursors import Cursor, Place, begin
from annals.agents.reading.gathering.events import follow, read_events
from annals.agents.reading.gathering.expecting import ExpectedAt
from annals.agents.reading.gathering.gather import gather
from annals.agents.reading.ports import NotReadyError
from following import snapshots_of, until
from gathered import Deployment, InProcess, event, id_in

KINDS = {"person": 1}
KEY = ("person", 0)
ADA = id_in(0, 1)
ALL = EventFilter()


def soon(within_s=30.0):
    return asyncio.get_running_loop().time() + within_s


@asynccontextmanager
async def crew(standbys=("standby",)):
    """A deployment of an owner, of standbys with what there is, and of a third who asks; one event."""
    deployment = Deployment(KINDS)
    deployment.append("person", [event("person", ADA)])
    deployment.worker("owner", KEY)
    for name in standbys:
        deployment.worker(name).follow(KEY)
    asker = deployment.worker("asker")
    peers = InProcess(deployment)
    try:
        for worker in deployment.workers:
            await worker.read()
        yield deployment, peers, AllShards(asker, asker, peers, KINDS)
    finally:
        await deployment.close()


def more(deployment, version=2):
    """Write an event, which the owner has at once, and standbys when they go on."""
    before = event("person", ADA)
    for number in range(2, version + 1):
        before = event("person", ADA, before, number)
    deployment.append("person", [before])


async def states(shards, within_s=30.0):
    return await gather(shards.all(), lambda shard: shard.state(ADA), soon(within_s))


async def test_the_owner_answers_while_it_is_there_and_no_standby_is_asked():
    async with crew() as (_, peers, shards):
        found = await states(shards)
        assert (found.stale, found.missing) == ([], [])
        assert peers.asked == [("owner", False)]


async def test_without_its_owner_a_partition_is_answered_by_a_standby_and_named_as_stale():
    async with crew() as (deployment, _, shards):
        await deployment.workers[0].lose(KEY)
        found = await states(shards)
        assert found.answers[KEY].version == 1
        assert [(each.kind, each.partition, each.reason) for each in found.stale] == [("person", 0, "standby")]
        assert (found.missing, found.positions) == ([], {"person": [1]})


async def test_an_owner_that_hangs_is_answered_for_within_the_same_deadline():
    async with crew() as (_, peers, shards):
        peers.frozen.add("owner")
        found = await states(shards, within_s=5.0)
        assert [each.reason for each in found.stale] == ["standby"]
        assert peers.asked == [("owner", False), ("standby", True)]


async def test_an_owner_that_takes_long_answers_if_no_standby_does():
    async with crew() as (deployment, peers, shards):
        owner = deployment.workers[0].shards[KEY]
        state = owner.state

        async def later(*arguments, **named):
            await until(lambda: ("standby", True) in peers.asked)
            return await state(*arguments, **named)

        owner.state = later
        peers.frozen.add("standby")
        found = await states(shards)
        assert (found.answers[KEY].version, found.stale) == (1, [])


async def test_the_standby_that_is_here_is_asked_before_others():
    async with crew() as (deployment, peers, _):
        await deployment.workers[0].lose(KEY)
        second = deployment.workers[1]
        found = await states(AllShards(second, second, peers, KINDS))
        assert [each.reason for each in found.stale] == ["standby"]
        assert peers.asked == []


async def test_the_next_standby_answers_where_the_first_one_does_not():
    async with crew(["first", "second"]) as (deployment, peers, shards):
        await deployment.workers[0].lose(KEY)
        peers.frozen.add("first")
        found = await states(shards, within_s=5.0)
        assert [each.reason for each in found.stale] == ["standby"]


async def test_where_nobody_answers_the_owner_is_named():
    async with crew() as (deployment, peers, shards):
        peers.frozen |= {"owner", "standby"}
        found = await states(shards, within_s=0.5)
        assert [each.reason for each in found.missing] == ["no answer in time"]
        await deployment.workers[0].lose(KEY)
        await deployment.workers[1].leave(KEY)
        found = await states(shards)
        assert "no worker has it at present" in found.missing[0].reason


async def test_an_owner_that_reads_the_journal_anew_is_answered_for_by_a_standby_that_has_read_it():
    async with crew() as (deployment, _, shards):
        owner = deployment.workers[0].shards[KEY]
        owner.take_over()  # and has not reached the journal's end, as far as it knows
        assert not owner.status().reached
        assert [each.reason for each in (await states(shards)).stale] == ["standby"]
        owner.note_end(1)
        assert (await states(shards)).stale == []


async def test_an_owner_that_reads_anew_answers_itself_where_it_is_further_than_the_standby():
    async with crew() as (deployment, _, shards):
        owner, standby = deployment.workers[0].shards[KEY], deployment.workers[1].standing[KEY]
        more(deployment)
        assert await owner.until_offset(2, soon())
        owner.take_over()
        standby.take_over()
        standby.stand_by()
        deployment.workers[1].standing[KEY]._source.records = deployment.journals[KEY].records[:1]
        found = await states(shards)
        assert found.answers[KEY].version == 2
        assert [each.reason for each in found.stale] == ["indexing: at offset 2 of 2"]


async def test_a_standby_that_is_stopped_or_indexing_says_that_too():
    async with crew() as (deployment, _, shards):
        await deployment.workers[0].lose(KEY)
        standby = deployment.workers[1].standing[KEY]
        standby.take_over()
        standby.stand_by()
        assert [each.reason for each in (await states(shards)).stale] == ["standby: indexing: at offset 1 of 1"]


async def test_a_standby_that_is_behind_the_cursor_is_missing_or_waited_for():
    async with crew() as (deployment, _, shards):
        more(deployment)
        await deployment.workers[0].read_owned()
        await deployment.workers[0].lose(KEY)
        cursor = Cursor({KEY: Place(2, b"")}, descending=False)
        behind = await read_events(shards.all(), ALL, cursor, 10, 0.0, soon())
        assert "read up to offset 1 only, and the cursor is at 2" in behind.missing[0].reason
        assert behind.cursor.places[KEY].offset == 2
        waiting = asyncio.create_task(read_events(shards.all(), ALL, cursor, 10, 20.0, soon()))
        await asyncio.sleep(0)
        deployment.workers[1].standing[KEY].go_on()
        page = await waiting
        assert (page.missing, [each.reason for each in page.stale]) == ([], ["standby"])
        assert page.positions == {"person": [2]}


async def test_what_is_expected_is_in_the_page_whoever_answers():
    async with crew() as (deployment, _, shards):
        more(deployment)
        await deployment.workers[0].read_owned()
        await deployment.workers[0].lose(KEY)
        first, expected = begin(KINDS, descending=False), [ExpectedAt("person", 0, 1)]
        behind = await read_events(shards.all(), ALL, first, 10, 0.0, soon(), expected)
        assert [each.partition for each in behind.missing] == [0]
        deployment.workers[1].standing[KEY].go_on()
        page = await read_events(shards.all(), ALL, first, 10, 20.0, soon(), expected)
        assert len(page.events) == 2


async def test_a_wait_is_answered_by_a_standby_which_is_then_asked_for_the_state():
    async with crew() as (deployment, peers, shards):
        more(deployment)
        await deployment.workers[0].read_owned()
        deployment.workers[1].standing[KEY].go_on()
        peers.frozen.add("owner")
        shard = shards.of("person", ADA)
        assert await shard.until_version(ADA, 2, soon())
        peers.frozen.clear()
        assert (await shard.state(ADA)).version == 2
        assert shard.status().standby
        assert peers.asked[-2:] == [("standby", True)] * 2


async def test_a_wait_goes_on_at_the_owner_that_is_there():
    async with crew() as (deployment, peers, shards):
        shard = shards.of("person", ADA)
        waiting = asyncio.create_task(shard.until_version(ADA, 2, soon()))
        await asyncio.sleep(0)
        more(deployment)
        assert await waiting
        assert not shard.status().standby
        assert ("standby", True) not in peers.asked
        assert not await shard.until_version(ADA, 9, soon(0.1))


async def test_snapshots_and_numbers_are_the_owners_alone():
    async with crew() as (deployment, peers, shards):
        await deployment.workers[0].lose(KEY)
        shard = shards.of("person", ADA)
        for ask in (shard.keep_snapshot(ADA), shard.drop_snapshot(ADA, 1), shard.numbers()):
            with pytest.raises(NotReadyError, match="no worker has it"):
                await ask
        assert peers.asked == []
        assert await snapshots_of(shard, ADA) == []


async def test_a_stream_goes_on_at_a_standby_and_at_the_owner_that_it_becomes_without_gap_or_double():
    async with crew() as (deployment, _, shards):
        standby = deployment.workers[1].standing[KEY]
        seen = []
        async with aclosing(follow(shards.all(), ALL, begin(KINDS, descending=False))) as stream:
            for version in range(1, 7):
                if version > 1:
                    more(deployment, version)
                    standby.go_on()
                if version == 3:
                    await deployment.workers[0].lose(KEY)
                if version == 5:
                    await deployment.workers[1].leave(KEY)
                    deployment.workers[1].take(KEY)
                async with asyncio.timeout(30):
                    while len(seen) < version:
                        followed = await anext(stream)
                        if followed.event is not None:
                            seen.append(followed.event.event["version"])
        assert seen == [1, 2, 3, 4, 5, 6]


async def test_who_takes_over_has_read_what_there_was_only_when_the_end_is_known():
    async with crew() as (deployment, _, _shards):
        standby = deployment.workers[1].standing[KEY]
        assert (standby.status().standby, standby.status().reached) == (True, True)
        more(deployment)
        standby._source.records = deployment.journals[KEY].records[:1]
        standby.take_over()
        assert (standby.status().standby, standby.status().reached) == (False, False)
        standby.note_end(2)
        assert not standby.status().reached
        standby._source.records = deployment.journals[KEY].records
        standby.go_on()
        assert await standby.until_offset(2, soon())
        assert standby.status().reached
