"""Asking all partitions: who has one is asked wherever it is, who does not answer is named, and streams go on."""

import asyncio
from collections import Counter
from contextlib import aclosing, asynccontextmanager

import pytest

from annals.agents.reading.found import EventFilter
from annals.agents.reading.gathering.all_shards import AllShards
from annals.agents.reading.gathering.cursors import BadCursorError, begin, decode, encode
from annals.agents.reading.gathering.events import follow, read_events
from annals.agents.reading.gathering.expecting import Expected, NotFoldedError, parse_expected, until_folded
from annals.agents.reading.gathering.gather import gather
from annals.agents.reading.gathering.questions import AskFind, AskUntilOffset
from annals.agents.reading.gathering.shared_questions import SharedQuestions
from annals.agents.reading.ports import BrokenChainError, NotReadyError
from annals.agents.waiting import ended
from gathered import Deployment, InProcess, event, id_in

KINDS = {"person": 2}
ALL = EventFilter()


def soon(within_s=30.0):
    return asyncio.get_running_loop().time() + within_s


@asynccontextmanager
async def two_workers():
    """Person-0 at `a`, person-1 at `b`, one event in each."""
    deployment = Deployment(KINDS)
    for partition in range(2):
        deployment.append("person", [event("person", id_in(partition, 2), second=partition)])
    a, b = deployment.worker("a", ("person", 0)), deployment.worker("b", ("person", 1))
    peers = InProcess(deployment)
    try:
        await a.read()
        await b.read()
        yield deployment, AllShards(a, a, peers, KINDS), AllShards(b, b, peers, KINDS)
    finally:
        await deployment.close()


async def page_of(shards, cursor=None, *, wait_s=0.0, within_s=30.0):
    at = cursor or begin(KINDS, descending=False)
    return await read_events(shards.of_kinds(KINDS), ALL, at, 10, wait_s, soon(within_s))


async def test_every_worker_answers_for_all():
    async with two_workers() as (_, at_a, at_b):
        for shards in (at_a, at_b):
            page = await page_of(shards)
            assert [found.event["aggregate_id"] for found in page.events] == [id_in(0, 2), id_in(1, 2)]
            assert (page.positions, page.missing, page.stale, page.is_end) == ({"person": [1, 1]}, [], [], True)
            assert await shards.of("person", id_in(1, 2)).offset_of(id_in(1, 2), 1) == 0


class CountingEvents:
    """A shard that counts the events that it is asked for, and those that it has read."""

    def __init__(self, shard, read):
        self._shard, self._read = shard, read

    def __getattr__(self, name):
        return getattr(self._shard, name)

    async def find(self, *asked, **how):
        page = await self._shard.find(*asked, **how)
        self._read.append(len(page.events))
        return page


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("spread", ["even", "one after the other", "in one"])
async def test_a_page_reads_little_more_than_it_shows(spread, descending):
    """Goes red when each partition is asked for a whole page: of four, three are read and verified for nothing."""
    partitions, count, limit = 4, 100, 80
    seconds = {"even": lambda at, n: n * partitions + at, "one after the other": lambda at, n: at * count + n}
    deployment, most = Deployment({"person": partitions}), 2.5 * limit
    for partition in range(1 if spread == "in one" else partitions):
        last = None
        for number in range(count):
            second = seconds.get(spread, lambda at, n: n)(partition, number)
            last = event("person", id_in(partition, partitions), last, second)
            deployment.append("person", [last])
    worker = deployment.worker("a", *[("person", partition) for partition in range(partitions)])
    try:
        await worker.read()
        shards = AllShards(worker, worker, InProcess(deployment), {"person": partitions})
        read, found = [], []
        counted = [CountingEvents(shard, read) for shard in shards.of_kinds({"person": partitions})]
        cursor, is_end = begin({"person": partitions}, descending=descending), False
        while not is_end:
            page = await read_events(counted, ALL, cursor, limit, 0.0, soon())
            cursor, is_end = page.cursor, page.is_end
            assert is_end or len(page.events) == limit
            assert sum(read) <= most, read
            found += page.events
            read.clear()
    finally:
        await deployment.close()
    times = [each.event["recorded_at"] for each in found]
    assert len({each.cid for each in found}) == len(found) == count * (1 if spread == "in one" else partitions)
    assert times == sorted(times, reverse=descending)


async def test_a_partition_that_nobody_has_is_missing_and_keeps_its_place():
    async with two_workers() as (deployment, at_a, _):
        await deployment.workers[1].lose(("person", 1))
        page = await page_of(at_a)
        assert page.positions == {"person": [1, None]}
        ((kind, partition, reason),) = [(each.kind, each.partition, each.reason) for each in page.missing]
        assert (kind, partition) == ("person", 1)
        assert "no worker has it at present" in reason
        assert not page.is_end
        deployment.workers[0].take(("person", 1))
        await deployment.workers[0].read()
        later = await page_of(at_a, page.cursor)
        assert [found.event["aggregate_id"] for found in later.events] == [id_in(1, 2)]
        assert later.is_end


async def test_a_partition_that_moves_is_asked_for_at_its_new_owner():
    async with two_workers() as (deployment, at_a, _):
        await deployment.workers[1].lose(("person", 1))
        asked = asyncio.create_task(at_a.shard("person", 1).offset_of(id_in(1, 2), 1))
        waited = asyncio.create_task(at_a.shard("person", 1).until_version(id_in(1, 2), 2, soon()))
        await asyncio.sleep(0)
        c = deployment.worker("c", ("person", 1))
        await c.read()
        assert await asked in (0, None)  # the shard may have been asked before it had read
        first = event("person", id_in(1, 2), second=1)
        deployment.append("person", [event("person", id_in(1, 2), first)])
        assert await waited


async def test_who_waits_goes_on_to_wait_at_the_new_owner():
    async with two_workers() as (deployment, *everywhere):
        shards = [at.shard("person", 1) for at in everywhere]
        waited = [asyncio.create_task(shard.until_version(id_in(1, 2), 2, soon())) for shard in shards]
        waited += [asyncio.create_task(shard.until_offset(2, soon())) for shard in shards]
        await asyncio.sleep(0.01)  # they wait at the shard that goes
        await deployment.workers[1].lose(("person", 1))
        deployment.workers[0].take(("person", 1))
        await deployment.workers[0].read()
        first = event("person", id_in(1, 2), second=1)
        deployment.append("person", [event("person", id_in(1, 2), first)])
        assert await asyncio.gather(*waited) == [True] * 4


async def test_a_reader_that_is_behind_the_cursor_is_waited_for_and_then_missing():
    async with two_workers() as (deployment, at_a, _):
        page = await page_of(at_a)
        ahead = page.cursor.places["person", 0]._replace(offset=2, journal=b"")
        cursor = page.cursor._replace(places={**page.cursor.places, ("person", 0): ahead})
        behind = await page_of(at_a, cursor)
        assert "read up to offset 1 only, and the cursor is at 2" in behind.missing[0].reason
        assert behind.cursor.places["person", 0] == cursor.places["person", 0]
        waiting = asyncio.create_task(page_of(at_a, cursor, wait_s=30.0))
        await asyncio.sleep(0)
        deployment.append("person", [event("person", id_in(0, 2, 1)), event("person", id_in(0, 2, 2))])
        found = await waiting
        assert found.missing == []
        assert [each.event["aggregate_id"] for each in found.events] in ([id_in(0, 2, 2)], [])


async def test_a_cursor_of_a_journal_that_was_made_anew_is_refused():
    async with two_workers() as (_, at_a, _):
        text = encode((await page_of(at_a)).cursor)
    anew = Deployment(KINDS)
    anew.append("person", [event("person", id_in(0, 2, 1))])
    worker = anew.worker("a", ("person", 0), ("person", 1))
    try:
        await worker.read()
        with pytest.raises(BadCursorError, match="made anew"):
            await page_of(AllShards(worker, worker, InProcess(anew), KINDS), decode(text, KINDS, descending=False))
    finally:
        await anew.close()


def life(count, *, forked_at=None):
    """The events of one aggregate; from a version on, perhaps others than else."""
    events = []
    for number in range(count):
        second = number if forked_at is None or number < forked_at else number + 100
        events.append(event("person", id_in(0, 2), events[-1] if events else None, second))
    return events


@asynccontextmanager
async def one_worker(events, *, marked=False):
    """A worker with both partitions, and events in the first; marked: each in a transaction of its own."""
    deployment = Deployment(KINDS)
    worker = deployment.worker("a", ("person", 0), ("person", 1))
    for each in events:
        deployment.append("person", [each])
        if marked:
            deployment.journals["person", 0].mark()
    try:
        await worker.read()
        yield AllShards(worker, worker, InProcess(deployment), KINDS)
    finally:
        await deployment.close()


async def cursor_behind(shards, limit, *, descending):
    """The cursor behind a page, as its text gives it."""
    page = await read_events(shards.of_kinds(KINDS), ALL, begin(KINDS, descending=descending), limit, 0.0, soon())
    return decode(encode(page.cursor), KINDS, descending=descending)


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("descending", [False, True])
async def test_a_cursor_of_a_journal_that_lost_its_end_and_grew_again_is_refused(descending, limit):
    """Goes red when a cursor is an offset alone: what was written anew below it would be on no page."""
    async with one_worker(life(12)) as shards:
        cursor = await cursor_behind(shards, limit, descending=descending)
    async with one_worker(life(20, forked_at=1)) as shards:
        with pytest.raises(BadCursorError, match=r"was restored from a copy, or lost its end"):
            await read_events(shards.of_kinds(KINDS), ALL, cursor, 10, 0.0, soon())


async def test_a_cursor_of_a_journal_whose_copy_has_other_offsets_is_refused_in_pages_and_streams():
    async with one_worker(life(3), marked=True) as shards:
        cursor = (await page_of(shards)).cursor
        assert cursor.places["person", 0].offset == 5
    async with one_worker(life(6)) as shards:
        with pytest.raises(BadCursorError, match="person-0 does not have at offset 5"):
            await page_of(shards, cursor)
        async with aclosing(follow(shards.of_kinds(KINDS), ALL, cursor)) as stream:
            with pytest.raises(BadCursorError, match="person-0 does not have at offset 5"):
                await anext(stream)


async def test_a_cursor_goes_on_where_the_journal_was_copied_byte_for_byte_and_grew():
    events = life(6)
    for limit in (1, 2, 10):
        async with one_worker(events[:4], marked=True) as shards:
            cursor = await cursor_behind(shards, limit, descending=False)
        async with one_worker(events, marked=True) as shards:
            page = await page_of(shards, cursor)
            assert [each.event["version"] for each in page.events] == list(range(min(limit, 4) + 1, 7))


class Odd:
    """A shard that does not answer, refuses or breaks."""

    def __init__(self, partition, error=None):
        self.kind, self.partition, self.error = "person", partition, error
        self.is_cancelled = False

    def status(self):
        raise AssertionError("it has not answered")

    async def ask(self):
        if self.error is not None:
            raise self.error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise


async def test_who_does_not_answer_or_refuses_is_named_in_bounded_time():
    hanging, refusing = Odd(0), Odd(1, NotReadyError("restoring"))
    found = await gather([hanging, refusing], Odd.ask, soon(0.2))
    assert [(each.partition, each.reason) for each in found.missing] == [(0, "no answer in time"), (1, "restoring")]
    assert (found.answers, found.positions) == ({}, {"person": [None, None]})
    assert hanging.is_cancelled


async def test_a_broken_chain_is_an_error_and_no_missing_partition():
    hanging = Odd(0)
    with pytest.raises(BrokenChainError, match="here"):
        await gather([hanging, Odd(1, BrokenChainError("here"))], Odd.ask, soon())
    assert hanging.is_cancelled


async def take(stream, count):
    """The next events of a stream, and the cursor behind the last."""
    events, cursor = [], None
    async with asyncio.timeout(30):
        while len(events) < count:
            followed = await anext(stream)
            cursor = followed.cursor
            if followed.event is not None:
                events.append((followed.event.event["aggregate_id"], followed.event.event["version"]))
    return events, cursor


async def test_a_stream_goes_on_at_another_worker_without_gap_or_double():
    async with two_workers() as (deployment, at_a, at_b):
        last = {partition: event("person", id_in(partition, 2), second=partition) for partition in range(2)}
        seen, cursor = [], begin(KINDS, descending=False)
        written = [(id_in(0, 2), 1), (id_in(1, 2), 1)]
        for number in range(8):
            shards = (at_a, at_b)[number % 2]
            async with aclosing(follow(shards.of_kinds(KINDS), ALL, cursor)) as stream:
                for partition in (0, 1):
                    last[partition] = event("person", id_in(partition, 2), last[partition], number)
                    written.append((id_in(partition, 2), last[partition].version))
                    deployment.append("person", [last[partition]])
                events, cursor = await take(stream, 2)
                seen += events
            cursor = decode(encode(cursor), KINDS, descending=False)
        async with aclosing(follow(at_a.of_kinds(KINDS), ALL, cursor)) as stream:
            seen += (await take(stream, len(written) - len(seen)))[0]
        assert sorted(seen) == sorted(written)
        assert [each for each in seen if each[0] == id_in(0, 2)] == [each for each in written if each[0] == id_in(0, 2)]


async def test_a_quiet_stream_says_where_it_is(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.gathering.events.ALIVE_S", 0.05)
    async with two_workers() as (_, at_a, _):
        none = EventFilter(types=("None",))
        async with aclosing(follow(at_a.of_kinds(KINDS), none, begin(KINDS, descending=False))) as stream:
            offsets = []
            while offsets != [1, 1]:
                followed = await asyncio.wait_for(anext(stream), 30)
                assert followed.event is None
                offsets = [place.offset for place in followed.cursor.places.values()]


class Counting(InProcess):
    """Counts the questions of each type that are being asked, at most at once and all."""

    def __init__(self, deployment):
        super().__init__(deployment)
        self.now, self.most, self.all = Counter(), Counter(), Counter()

    async def ask(self, member, kind, partition, question, deadline, *, standby=False):
        asks = type(question)
        self.now[asks] += 1
        self.all[asks] += 1
        self.most[asks] = max(self.most[asks], self.now[asks])
        try:
            return await super().ask(member, kind, partition, question, deadline, standby=standby)
        finally:
            self.now[asks] -= 1


async def test_streams_at_one_place_wait_by_one_question_and_each_has_every_event():
    """Goes red when each stream asks by itself: a few then take all connections between two workers."""
    async with two_workers() as (deployment, at_a, _):
        peers = at_a.peers = Counting(deployment)
        shared, first = SharedQuestions(), begin(KINDS, descending=False)
        streams = [follow(at_a.of_kinds(KINDS), ALL, first, shared) for _ in range(100)]
        taken = await asyncio.gather(*(take(stream, 2) for stream in streams))
        more = [asyncio.create_task(take(stream, 1)) for stream in streams]
        async with asyncio.timeout(30):
            while not peers.now[AskUntilOffset]:  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.01)
        await ended(more.pop())  # one goes, and the others wait on
        last = event("person", id_in(1, 2), second=1)
        deployment.append("person", [event("person", id_in(1, 2), last, 2)])
        taken = await asyncio.gather(*more)
        assert all(events == [(id_in(1, 2), 2)] for events, _ in taken)
        assert (
            peers.most[AskUntilOffset] <= 2
        )  # of those who wait behind the event, and of those who have yet to take it
        assert peers.all[AskFind] < 20
        for stream in streams:
            await stream.aclose()
        assert peers.now.total() == 0


async def test_a_quiet_stream_does_not_read_and_notices_a_journal_that_was_made_anew(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.gathering.events.ALIVE_S", 0.05)
    async with one_worker(life(3)) as shards, one_worker(life(3, forked_at=0)) as others:
        cursor = begin(KINDS, descending=False)
        async with aclosing(follow(shards.of_kinds(KINDS), ALL, cursor)) as stream:
            await take(stream, 3)
            assert (await anext(stream)).event is None
            shards.reading = others.reading
            with pytest.raises(BadCursorError):
                await take(stream, 1)


async def test_a_stream_goes_on_while_a_partition_is_moving():
    async with two_workers() as (deployment, at_a, _):
        stream = follow(at_a.of_kinds(KINDS), ALL, begin(KINDS, descending=False))
        async with aclosing(stream):
            assert len((await take(stream, 2))[0]) == 2
            await deployment.workers[1].lose(("person", 1))
            for partition in (1, 0):
                first = event("person", id_in(partition, 2), second=partition)
                deployment.journals["person", partition].append([event("person", id_in(partition, 2), first)])
            assert (await take(stream, 1))[0] == [(id_in(0, 2), 2)]
            deployment.workers[0].take(("person", 1))
            assert (await take(stream, 1))[0] == [(id_in(1, 2), 2)]


async def test_expected_events_are_waited_for_wherever_they_are_folded():
    async with two_workers() as (deployment, at_a, _):
        expected = [Expected("person", id_in(0, 2), 1), Expected("person", id_in(1, 2), 2)]
        waiting = asyncio.create_task(until_folded(at_a, expected, soon()))
        await asyncio.sleep(0)
        deployment.append("person", [event("person", id_in(1, 2), event("person", id_in(1, 2), second=1))])
        assert [tuple(place) for place in await waiting] == [("person", 0, 0), ("person", 1, 1)]
        with pytest.raises(NotFoldedError, match="version 9") as caught:
            await until_folded(at_a, [Expected("person", id_in(1, 2), 9)], soon(0.05))
        assert (caught.value.partition, caught.value.offset) == (1, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person/p-1@3", Expected("person", "p-1", 3)),
        ("person/a/b@c@12", Expected("person", "a/b@c", 12)),
        ("person/line\nbreak@1", Expected("person", "line\nbreak", 1)),
    ],
)
def test_an_expected_event_is_named_by_kind_id_and_version(text, expected):
    assert parse_expected(text, KINDS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "person",
        "person/p-1",
        "person/p-1@0",
        "person/p-1@-1",
        "person/@1",
        "cat/p-1@1",
        "person/p-1@x",
        "person/" + "x" * 257 + "@1",
        "person/p-1@01",
    ],
)
def test_what_names_no_event_is_refused(text):
    with pytest.raises(ValueError, match=r"must be <kind>|no kind"):
        parse_expected(text, KINDS)
