"""What compacted topics say is right at the moment of the answer, whatever came meanwhile; only what is new is read."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read import newest_records
from annals.workers.kafka.read.newest_records import ROW_BYTES
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import compacted_views
from annals.workers.publishing.compacted_views import AWAY_S, CompactedViews
from following import until
from rotten import rot

TEXTS, OTHERS = "texts", "others"
PARTITIONS = 2


class Held(Direct):
    """A network that may hold fetches back, or be down."""

    def __init__(self):
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.is_down = False
        self.waiting = 0

    async def ask(self, request, serve):
        if self.is_down:
            raise KafkaConnectionError
        if "Fetch" in type(request).__name__:
            self.waiting += 1
            await self.may_go_on.wait()
        return await super().ask(request, serve)


class Clocks:
    """A clock that goes on where a test says so; the machine's own stands still while it sleeps."""

    def __init__(self):
        self.running, self.of_day = 1_000.0, datetime(2026, 11, 30, tzinfo=UTC)

    def monotonic(self):
        return self.running

    def now(self):
        return self.of_day


def text_of(key, value, offset):
    del key, offset
    if value == b"nothing":
        return None
    return value.decode("ascii")


class Scene:
    def __init__(self, most_bytes=compacted_views.MOST_BYTES):
        self.model, self.network, self.clock = MemoryCluster({}), Held(), Clocks()
        for name in (TEXTS, OTHERS):
            self.model.make_topic(name, Topic(PARTITIONS))
        self.views = CompactedViews(self.clock, most_bytes)
        self.read = []

    def put(self, key, value, partition=0, topic=TEXTS):
        self.model.append((topic, partition), key.encode(), None if value is None else value.encode())

    def compact(self, *keys, partition=0):
        """Drop records of keys, as the brokers' cleaner does; offsets stay as they are."""
        log = self.model.logs[TEXTS, partition]
        log.entries = [each for each in log.entries if each.records()[0].key.decode() not in keys]

    async def says(self, topic=TEXTS, views=None, **options):
        client = await connect({CLUSTER: Cluster(self.model, self.network), "bootstrap_servers": "memory"}, [])
        try:
            rows = await (views or self.views).rows(client, topic, text_of, **options)
            return {key.decode(): text for each in rows for key, text in each.items()}
        finally:
            await client.close()


async def all_wait():
    """Let everybody come to where a fetch is held back, or another one's reading is waited for: no time is involved."""
    for _ in range(1_000):
        await asyncio.sleep(0)


@pytest.fixture
def scene(monkeypatch):
    made = Scene()
    reading = newest_records.read_range

    async def read_range(client, where, start, end, **options):
        async for records in reading(client, where, start, end, **options):
            made.read += [each[0] for each in records]
            yield records

    monkeypatch.setattr(newest_records, "read_range", read_range)
    return made


async def test_who_asks_again_reads_what_is_new_and_the_record_before_it(scene):
    for number in range(100):
        scene.put(f"k{number % 10}", str(number))
    assert len(await scene.says()) == 10
    assert len(scene.read) == 100
    scene.read.clear()
    scene.put("k3", "new")
    scene.put("k11", "more")
    found = await scene.says()
    assert (found["k3"], found["k4"], found["k11"]) == ("new", "94", "more")
    assert scene.read == [99, 100, 101]
    scene.read.clear()
    assert await scene.says() == found
    assert scene.read == [101]


@pytest.mark.parametrize("is_at_once", [False, True])
async def test_the_newest_valid_record_holds_and_what_is_gone_is_not_there(scene, is_at_once):
    before = dict.fromkeys("abcd", "1")
    for key, value in [*before.items(), ("a", "2"), ("b", None), ("c", "ü"), ("d", "nothing"), ("e", None)]:
        scene.put(key, value)
        if not is_at_once:
            await scene.says()
    assert await scene.says() == {"a": "2", "c": "1"}


async def test_compaction_changes_nothing_but_how_much_is_read(scene):
    for key in ("a", "b", "a", "c"):
        scene.put(key, "1")
    assert await scene.says() == {"a": "1", "b": "1", "c": "1"}
    scene.put("c", "2")
    log = scene.model.logs[TEXTS, 0]
    log.entries = [each for each in log.entries if each.base in {1, 2, 4}]  # also the record that was read last
    assert await scene.says() == {"a": "1", "b": "1", "c": "2"}


async def test_a_topic_made_anew_is_another_one_whatever_is_in_it(scene):
    """Goes red without the look at its id: it has the same end, and the same last record."""
    for key in ("a", "b"):
        scene.put(key, "1")
    assert await scene.says() == {"a": "1", "b": "1"}
    scene.model.delete_topic(TEXTS)
    scene.model.make_topic(TEXTS, Topic(PARTITIONS))
    for key in ("c", "b"):
        scene.put(key, "1")
    assert await scene.says() == {"c": "1", "b": "1"}


@pytest.mark.parametrize("has_ids", [True, False])
async def test_a_topic_that_was_deleted_says_nothing(scene, monkeypatch, has_ids):
    """Brokers before KIP-516 have no ids."""
    if not has_ids:
        scene.model.topic_ids.clear()
    scene.put("a", "1")
    assert await scene.says() == {"a": "1"}
    scene.model.topic_ids[TEXTS] = scene.model.topic_ids.get(TEXTS, bytes(16))
    scene.model.delete_topic(TEXTS)
    assert await scene.says() == {}


async def test_what_was_cut_off_at_the_front_is_not_there(scene):
    for key in ("a", "b", "c"):
        scene.put(key, "1")
    assert set(await scene.says()) == {"a", "b", "c"}
    scene.model.logs[TEXTS, 0].delete_before(2)
    assert set(await scene.says()) == {"c"}


@pytest.mark.parametrize("more", [0, 1, 5])
async def test_an_end_that_was_lost_is_not_counted_however_much_came_after_it(scene, more):
    for key in ("a", "b", "c"):
        scene.put(key, "1")
    assert set(await scene.says()) == {"a", "b", "c"}
    scene.model.logs[TEXTS, 0].truncate(1)
    for number in range(more):
        scene.put(f"more-{number}", "1")
    assert set(await scene.says()) == {"a", *(f"more-{number}" for number in range(more))}


@pytest.mark.parametrize(("running", "of_day"), [(AWAY_S + 1, AWAY_S + 1), (0, AWAY_S + 1), (0, -AWAY_S - 1)])
async def test_a_tombstone_that_was_missed_brings_nothing_back(scene, running, of_day):
    """Goes red where a view is gone on with after any time: the record and what removed it were compacted away."""
    scene.put("a", "1")
    scene.put("b", "1")
    assert set(await scene.says()) == {"a", "b"}
    scene.put("a", None)
    scene.put("b", "2")
    scene.compact("a")
    scene.clock.running += running
    scene.clock.of_day += timedelta(seconds=of_day)
    assert await scene.says() == {"b": "2"}


async def test_those_who_ask_at_the_same_time_share_one_reading(scene):
    for number in range(50):
        scene.put(f"k{number}", "1")
    scene.network.may_go_on.clear()
    asking = [asyncio.create_task(scene.says()) for _ in range(20)]
    await all_wait()
    scene.put("late", "1")
    later = [asyncio.create_task(scene.says()) for _ in range(20)]
    await all_wait()
    scene.network.may_go_on.set()
    found = await asyncio.gather(*asking)
    assert all(len(each) >= 50 for each in found)
    assert all("late" in each for each in await asyncio.gather(*later)), "it was there when they asked"
    assert scene.read == [*range(50), 49, 50], "the others share the second one"


async def test_partitions_are_read_at_once(scene):
    """Goes red when each waits for the one before it: a topic of progress may have dozens."""
    for partition in range(PARTITIONS):
        scene.put(f"k{partition}", "1", partition)
    scene.network.may_go_on.clear()
    asking = asyncio.create_task(scene.says())
    await until(lambda: scene.network.waiting == PARTITIONS)
    scene.network.may_go_on.set()
    assert await asking == {f"k{partition}": "1" for partition in range(PARTITIONS)}


async def test_what_takes_long_to_read_is_read_in_turns(scene, monkeypatch):
    """Goes red when a turn has any number of bytes: a thousand subscriptions with many filters hold all else up."""
    monkeypatch.setattr(newest_records, "BYTES_A_TURN", 30)
    others, turns, is_over = 0, 0, False

    async def others_work():
        nonlocal others
        while not is_over:
            others += 1
            await asyncio.sleep(0)

    for number in range(100):
        scene.put(f"k{number}", "x" * 10)
    longest, before = 0, None

    def seen(key, value, offset):
        nonlocal turns, longest, before
        turns = turns + 1 if others == before else 1
        longest, before = max(longest, turns), others
        return text_of(key, value, offset)

    newest = newest_records.NewestRecords(TopicPartition(TEXTS, 0), 0, seen)
    working = asyncio.create_task(others_work())
    client = await connect({CLUSTER: Cluster(scene.model, scene.network), "bootstrap_servers": "memory"}, [])
    assert await newest.read_on(client, 100)
    is_over = True
    await working
    await client.close()
    assert (len(newest.rows), longest) == (100, 4)


async def test_who_goes_away_while_reading_leaves_it_right_for_the_next(scene, monkeypatch):
    monkeypatch.setattr(newest_records, "RECORDS_A_TURN", 1)
    for number in range(9):
        scene.put(f"k{number % 3}", str(number) if number else None)
    for turns in range(30):
        asking = asyncio.create_task(scene.says())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        scene.put("k9", str(turns))
        assert await scene.says() == {"k0": "6", "k1": "7", "k2": "8", "k9": str(turns)}


async def test_where_the_brokers_are_away_the_next_answer_is_right(scene):
    scene.put("a", "1")
    await scene.says()
    scene.put("a", "2")
    scene.network.is_down = True
    with pytest.raises(KafkaConnectionError):
        await scene.says()
    scene.network.is_down = False
    assert await scene.says() == {"a": "2"}


async def test_a_transaction_that_stays_open_holds_up_all_who_ask_at_the_same_time_as_long_as_one(scene, monkeypatch):
    """Goes red where each of them waits for its end after the one before it has given up."""
    waits, may_fail = [], asyncio.Event()

    async def settled_bounds(client, wheres):
        waits.append(wheres)
        await may_fail.wait()
        raise UnreachableError("a transaction has been open for 30 s")

    with monkeypatch.context() as patched:
        patched.setattr(compacted_views, "settled_bounds", settled_bounds)
        asking = [asyncio.create_task(scene.says()) for _ in range(9)]
        await until(lambda: waits)
        may_fail.set()
        for each in await asyncio.gather(*asking, return_exceptions=True):
            assert str(each) == "a transaction has been open for 30 s"
    assert len(waits) <= 2
    scene.put("a", "1")
    assert await scene.says() == {"a": "1"}


async def test_who_does_not_wait_for_a_transaction_does_not_wait_for_those_who_do(scene, monkeypatch):
    """Goes red where one PUT after a kill holds up every GET until the killed reader's transaction is ended."""
    waits, is_ended, settled_bounds = [], asyncio.Event(), compacted_views.settled_bounds

    async def once_it_is_ended(client, wheres):
        waits.append(wheres)
        await is_ended.wait()
        return await settled_bounds(client, wheres)

    monkeypatch.setattr(compacted_views, "settled_bounds", once_it_is_ended)
    scene.put("a", "1")
    settled = asyncio.create_task(scene.says())
    await until(lambda: waits)
    unsettled = [asyncio.create_task(scene.says(is_settled=False)) for _ in range(3)]
    await until(lambda: all(each.done() for each in unsettled))
    assert [each.result() for each in unsettled] == [{"a": "1"}] * 3
    scene.put("a", "2")
    is_ended.set()
    assert await settled == {"a": "2"}, "what the transaction brought, though others have read since it was asked"


async def test_where_a_disk_changed_the_newest_record_no_older_one_is_answered(scene):
    scene.put("a", "1")
    scene.put("a", "2")
    rot(scene.model, (TEXTS, 0))
    with pytest.raises(UnreachableError, match="texts-0: the record batch at offset 1 is damaged"):
        await scene.says()


async def test_partitions_that_are_added_are_read(scene):
    scene.put("a", "1")
    await scene.says()
    scene.model.topics[TEXTS] = Topic(PARTITIONS + 1)
    scene.model.logs[TEXTS, PARTITIONS] = type(scene.model.logs[TEXTS, 0])(Topic(1).rules)
    scene.put("b", "1", PARTITIONS)
    assert await scene.says() == {"a": "1", "b": "1"}


async def test_no_more_is_kept_than_may_be_and_what_was_asked_for_longest_ago_goes_first(scene):
    scene.views = CompactedViews(scene.clock, 5 * (ROW_BYTES + 2))
    for number in range(3):
        scene.put(f"k{number}", "1")
        scene.put(f"k{number}", "1", topic=OTHERS)
    await scene.says()
    await scene.says(OTHERS)
    assert scene.views.topics == [OTHERS]
    for number in range(9):
        scene.put(f"k{number}", "2", topic=OTHERS)
    assert len(await scene.says(OTHERS)) == 9, "it is answered all the same"
    assert scene.views.topics == []


async def test_what_is_kept_counts_by_its_size_and_no_longer_than_it_is_kept(scene):
    views = CompactedViews(scene.clock)
    for value, size in (("x" * 1_000, ROW_BYTES + 1_001), ("y", ROW_BYTES + 2), ("z" * 50, ROW_BYTES + 51), (None, 0)):
        scene.put("k", value)
        await scene.says(views=views, more=len)
        assert views._views[TEXTS].size == size


async def test_what_nobody_asks_for_is_forgotten(scene, monkeypatch):
    monkeypatch.setattr(compacted_views, "AWAY_S", 0.05)
    scene.put("a", "1")
    await scene.says()
    await until(lambda: not scene.views.topics)
    monkeypatch.setattr(compacted_views, "AWAY_S", 3_600.0)
    assert await scene.says() == {"a": "1"}
    assert scene.views.topics == [TEXTS]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happened_it_says_what_a_reading_from_the_beginning_says(scene, seed):
    chosen = random.Random(seed)
    for _ in range(60):
        step, key, partition = chosen.random(), f"k{chosen.randrange(6)}", chosen.randrange(PARTITIONS)
        log = scene.model.logs[TEXTS, partition]
        if step < 0.5:
            scene.put(key, chosen.choice(["1", "2", None, "nothing"]), partition)
        elif step < 0.6:
            newest = {each.records()[0].key: each.base for each in log.entries}
            log.entries = [each for each in log.entries if newest[each.records()[0].key] == each.base]
        elif step < 0.65:
            log.truncate(max(log.start, log.end - 2))
        elif step < 0.7:
            log.delete_before(min(log.end, log.start + 1))
        elif step < 0.72:
            scene.model.delete_topic(TEXTS)
            scene.model.make_topic(TEXTS, Topic(PARTITIONS))
        else:
            assert await scene.says() == await scene.says(views=CompactedViews(scene.clock))
