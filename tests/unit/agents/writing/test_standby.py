"""A standby over Kafka's log in memory: it folds what counts, fences nobody, and guesses nothing."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from annals.agents.backoff import Backoff
from annals.agents.folding.working_set import AggregateCache
from annals.agents.ports import StoreDamagedError, StoreUnavailableError, UnreachableError
from annals.agents.writing import standby as module
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.standby import Standby, StandbyPhase
from annals.testing import MemoryClock, MemoryStores
from annals.topics.group_metadata import GroupMetadata
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.protocol import record_batches
from annals.workers.kafka.read.stable_ends import StableEnds
from annals.workers.kafka.write.standby import KafkaStandbyLog
from annals.workers.memory.client import Cluster
from shard_scene import GROUP, NOW, PERSON, TOPIC, WatchedLog


class Told:
    def __init__(self):
        self.counts, self.damages = {}, 0

    def folded(self, counts, position):
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def damaged(self):
        self.damages += 1


class Scene:
    def __init__(self, log=None, stores=None, clock=None, turns=None):
        self.log, self.stores, self.told = log or WatchedLog(1), stores or MemoryStores(), Told()
        options = {CLUSTER: Cluster(self.log.model)}
        self.ends = StableEnds(options, self.log._topics.all(), interval_s=0.005)
        self.standby = Standby(
            PERSON,
            ShardId("person", TOPIC, 0, 1),
            KafkaStandbyLog(options, self.log._topics, GROUP, self.ends),
            self.stores,
            clock or MemoryClock(NOW),
            self.told,
            aggregate_cache=AggregateCache(1 << 20),
            turns=turns or asyncio.Semaphore(1),
        )

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.standby.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.standby.close()
            await self.ends.close()

    async def until(self, is_so):
        deadline = asyncio.get_running_loop().time() + 10
        while not is_so():
            assert asyncio.get_running_loop().time() < deadline, (self.standby.phase, self.standby.reason)
            await asyncio.sleep(0.005)

    async def until_phase(self, phase):
        await self.until(lambda: self.standby.phase is phase)

    async def until_warm(self):
        await self.until(
            lambda: self.standby.phase is StandbyPhase.FOLLOWING and self.standby.read_until == self.log.end
        )


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(module, "STOPPED_S", 0.05)
    monkeypatch.setattr(module, "STABLE_POLL_S", 0.01)
    monkeypatch.setattr(module, "SLICE_OFFSETS", 3)


def versions(stores):
    return {key: stored.version for key, stored in stores.store.aggregates()}


async def test_it_folds_what_is_there_and_what_comes():
    scene = Scene()
    cid = scene.log.append()
    for number in range(10):
        scene.log.append(aggregate_id=f"q-{number}", command_id=f"q-{number}")
    async with scene.running():
        await scene.until_warm()
        assert scene.told.counts == {"events": 11}
        scene.log.append(version=2, previous=cid, type_="PersonRenamed", name="Bea", command_id="d")
        await scene.until_warm()
    assert versions(scene.stores)[b"p-1"] == 2
    assert scene.stores.closed == 1
    assert scene.standby.phase is StandbyPhase.CLOSED


async def test_it_neither_fences_nor_writes(monkeypatch):
    scene = Scene()
    scene.log.append()
    await scene.log.fence()
    asked, init = [], scene.log.model.init_producer_id

    def noted(*given):
        asked.append(given)
        return init(*given)

    monkeypatch.setattr(scene.log.model, "init_producer_id", noted)
    before = {where: partition.end for where, partition in scene.log.model.logs.items()}
    async with scene.running():
        await scene.until_warm()
        assert {where: partition.end for where, partition in scene.log.model.logs.items()} == before
        assert scene.log.committed is None
    assert asked == [], "it takes no transactional id, whosever that is"
    await scene.log.commit(scene.log.writes(), 0, scene.log.end, GroupMetadata(0))  # of the same epoch still


async def test_what_is_in_an_open_transaction_is_not_folded_yet():
    scene = Scene()
    scene.log.append()
    stranger = scene.log.hold_up("events")
    async with scene.running():
        await scene.until(lambda: scene.standby.read_until == 1)
        assert versions(scene.stores) == {b"p-1": 1}
        stranger.end()
        await scene.until_warm()


async def test_it_goes_on_behind_what_nobody_foresaw_of_a_look_at_the_ends(monkeypatch):
    scene = Scene()
    failures = [RuntimeError("a defect of a library"), OSError("a connection broke")]
    ask = scene.ends._ask

    async def failing():
        if failures:
            raise failures.pop()
        await ask()

    monkeypatch.setattr(scene.ends, "_ask", failing)
    async with scene.running():
        await scene.until_phase(StandbyPhase.FOLLOWING)
        scene.log.append()
        await scene.until_warm()
    assert not failures


async def test_while_the_journal_cannot_be_read_it_looks_less_often(monkeypatch):
    """Goes red when a standby that opens, and then cannot fold, asks the brokers ten times a second, for ever."""
    waits = []

    class Noted(Backoff):
        async def wait(self):
            waits.append(self._next_s)
            self._next_s = min(2 * self._next_s, self._last_s)
            await asyncio.sleep(0)

    monkeypatch.setattr(module, "Backoff", Noted)
    scene = Scene()
    scene.log.append()
    read = KafkaStandbyLog.read

    def refused(*range_):
        if len(waits) < 4:
            raise UnreachableError("not now")
        return read(*range_)

    monkeypatch.setattr(KafkaStandbyLog, "read", refused)
    async with scene.running():
        await scene.until_warm()
    assert waits == [0.1, 0.2, 0.4, 0.8]


async def test_void_and_foreign_records_are_counted_and_kept():
    scene = Scene()
    scene.log.append()
    scene.log.append(command_id="loser", name="Eve")
    scene.log.write(scene.log._topics.events, b"p-1", b"garbage")
    async with scene.running():
        await scene.until_warm()
    assert scene.told.counts == {"events": 1, "void": 1, "foreign": 1}
    assert len(scene.stores.store.voids()) == 1


async def test_a_damaged_store_is_set_aside_and_folded_anew():
    scene = Scene()
    scene.stores.damages = [StoreDamagedError("bad block")]
    scene.log.append()
    async with scene.running():
        await scene.until_warm()
    assert (scene.told.damages, versions(scene.stores)) == (1, {b"p-1": 1})


async def test_a_store_that_cannot_be_opened_is_tried_again():
    scene = Scene()
    scene.stores.unavailable = [StoreUnavailableError("no space")] * 2
    scene.log.append()
    async with scene.running():
        await scene.until_warm()
    assert versions(scene.stores) == {b"p-1": 1}


async def test_a_store_of_another_journal_is_folded_anew():
    first = Scene()
    first.log.append(aggregate_id="other", command_id="x")
    async with first.running():
        await first.until_warm()
    scene = Scene(stores=first.stores)
    scene.log.append()
    async with scene.running():
        await scene.until_warm()
    assert (scene.stores.renewed, versions(scene.stores)) == (1, {b"p-1": 1})


@asynccontextmanager
async def cut_under_a_warm_one():
    """A standby that has folded two events, of which the journal has lost the second."""
    scene = Scene()
    scene.log.append()
    scene.log.append(aggregate_id="p-2", command_id="d")
    async with scene.running():
        await scene.until_warm()
        scene.log.cut("events", 1)
        yield scene


async def test_a_store_ahead_of_a_journal_that_lost_its_end_stops_it_and_it_looks_again():
    async with cut_under_a_warm_one() as scene:
        await scene.until_phase(StandbyPhase.STOPPED)
        assert "ends at offset 1" in scene.standby.reason
        assert versions(scene.stores) == {b"p-1": 1, b"p-2": 1}, "what it knows is kept"
        scene.log.remember(0, GroupMetadata(1, accepted_until=9))  # somebody decided to go on without it
        await scene.until_warm()
    assert versions(scene.stores) == {b"p-1": 1}


async def test_a_journal_that_was_cut_and_written_anew_beyond_is_not_folded_on():
    async with cut_under_a_warm_one() as scene:
        for name in ("e", "f", "g"):
            scene.log.append(aggregate_id=f"p-{name}", command_id=name)
        await scene.until_phase(StandbyPhase.STOPPED)
    assert versions(scene.stores) == {b"p-1": 1, b"p-2": 1}


async def test_what_it_passed_is_read_again_where_it_may_have_been_cut_off_and_events_written_in_its_place():
    """Transactions that were aborted: those who write lost nothing, and wrote on."""
    scene = Scene()
    cid = scene.log.append()
    scene.log.lift("events", 5)
    async with scene.running():
        await scene.until_warm()
        scene.log.cut("events", 1)
        for version in range(2, 8):
            cid = scene.log.append(version=version, previous=cid, type_="PersonRenamed", command_id=f"c-{version}")
        await scene.until(lambda: versions(scene.stores) == {b"p-1": 7})


async def test_at_a_gap_it_stops_and_names_the_place():
    scene = Scene()
    scene.log.append(version=3, previous=b"\1q\36\40" + bytes(32))
    async with scene.running():
        await scene.until_phase(StandbyPhase.STOPPED)
        assert "gap in the journal" in scene.standby.reason
        assert "offset 0" in scene.standby.reason


async def test_a_damaged_batch_stops_it(monkeypatch):
    scene = Scene()
    scene.log.append()
    checksum = record_batches.calc_crc32c
    monkeypatch.setattr(record_batches, "calc_crc32c", lambda _: 0)
    async with scene.running():
        await scene.until_phase(StandbyPhase.STOPPED)
        assert "the record batch at offset 0 is damaged" in scene.standby.reason
        monkeypatch.setattr(record_batches, "calc_crc32c", checksum)
        await scene.until_warm()


async def test_a_store_that_is_being_opened_when_it_is_closed_is_given_up_all_the_same():
    opening, may_open = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStores):
        async def open(self):
            opening.set()
            await may_open.wait()
            return await super().open()

    scene = Scene(stores=Slow())
    task = asyncio.create_task(scene.standby.run())
    await opening.wait()
    task.cancel()
    await asyncio.wait([task])
    closing = asyncio.create_task(scene.standby.close())
    may_open.set()
    await closing
    assert scene.stores.closed == 1


async def test_it_rests_after_each_step_for_as_long_as_that_took(monkeypatch):
    step_s = 0.015625  # each look at the clock moves it on by that

    class Passing(MemoryClock):
        passed = 0.0

        def monotonic(self):
            self.passed += step_s
            return self.passed

    sleep, rests = asyncio.sleep, []

    async def sleeping(seconds, *rest):
        rests.append(seconds)
        await sleep(seconds, *rest)

    monkeypatch.setattr(asyncio, "sleep", sleeping)
    scene = Scene(clock=Passing(NOW))
    for number in range(10):
        scene.log.append(aggregate_id=f"q-{number}", command_id=f"q-{number}")
    async with scene.running():
        await scene.until_warm()
    assert rests.count(step_s) == 4, "one for each slice of three offsets"


async def test_it_folds_only_when_it_has_its_turn():
    class Turns(asyncio.Semaphore):
        asked = 0

        async def acquire(self):
            self.asked += 1
            return await super().acquire()

    turns = Turns(1)
    scene = Scene(turns=turns)
    scene.log.append()
    async with turns, scene.running():  # another standby folds
        await scene.until(lambda: turns.asked == 2)
        assert (scene.standby.read_until, versions(scene.stores)) == (0, {})
        turns.release()
        await scene.until_warm()
        await turns.acquire()
    assert versions(scene.stores) == {b"p-1": 1}
