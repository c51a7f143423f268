"""Topics of publishing that lost their end: an owner that knows nothing yet finds it by what the last one committed."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.ports import LostEndError, UncertainError
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.agents.publishing.ports import TargetError, Writes
from annals.schemas.delivery import IN_FLIGHT, Row, encode_row, row_key
from annals.schemas.progress import LIVE, Progress, encode_progress, progress_key
from annals.schemas.subscription import Retry
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import TransactionalWriter
from annals.workers.publishing.reached import Reached, ReachedWatch
from chained import chain
from following import until
from publishing import World, eventually, shown

EVENTS = chain("p-1", 6)
ACKNOWLEDGED = {"delivery": "acknowledged", "retry": Retry(ack_timeout_ms=60_000)}


def emptied(log):
    log.delete_before(log.end)


def cut(log):
    log.truncate(0)


async def published(**definition):
    """A world in which a process has published three events, and ended."""
    world = World("one")
    world.journal.append(EVENTS[:3])
    await world.subscribe("one", **definition)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1 if definition else 3))
        await eventually(lambda: is_at(world, 3))
    return world


async def has(world, count):
    return len(await world.received("one")) >= count


async def is_at(world, position):
    found = [json.loads(value) for _, value, _ in await world.received("", "progress") if value]
    return any(each["position"] >= position for each in found)


@pytest.mark.parametrize("lose", [cut, emptied])
async def test_progress_that_lost_its_end_stops_the_next_owner(lose):
    world = await published()
    lose(world.model.logs["progress", 0])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "stopped")
        assert publisher.reason.startswith("progress-0 ")
        assert "delete the topic of progress and the group annals.publish" in publisher.reason
    assert await world.cids("one") == shown(EVENTS[:3])


async def test_progress_that_has_others_records_where_the_last_one_was_stops_the_next_owner():
    """The partition reaches as far: what is missing is seen by the record that the group's offset names."""
    world = await published()
    log = world.model.logs["progress", 0]
    end = log.end
    log.truncate(0)
    while log.end <= end:
        world.model.append(("progress", 0), b"live/events.person/7", b'{"position":9,"cid":null}')
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase == "stopped")
        assert publisher.reason.startswith("progress-0 lost what it had at offset 3, and has grown since. ")
    assert await world.cids("one") == shown(EVENTS[:3])


@pytest.mark.parametrize("offset", [0, 2, 9], ids=["lower", "in the middle", "higher"])
async def test_an_offset_that_somebody_else_committed_says_nothing(offset):
    """Tools write it without our words. Goes red when progress is held to it, and nothing is published any more."""
    world = await published()
    world.model.groups["annals.publish"].committed["events.person", 0] = (offset, "")
    world.journal.append(EVENTS[3:])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, 6))
        assert publisher.phase == "publishing"
    assert await world.cids("one") == shown(EVENTS)


@pytest.mark.parametrize("lose", [cut, emptied])
async def test_deliveries_that_lost_their_end_pause_their_subscription_at_the_next_owner(lose):
    world = await published(**ACKNOWLEDGED)
    lose(world.model.logs["deliveries.one", 0])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: "one" in world.subscriptions.paused)
        assert publisher.phase == "publishing"
    assert world.subscriptions.paused["one"].startswith("deliveries.one-0 ")
    assert "it reached" in world.subscriptions.paused["one"]
    assert await world.cids("one") == shown(EVENTS[:1])


async def test_one_that_began_anew_has_deliveries_anew():
    world = await published(**ACKNOWLEDGED)
    cut(world.model.logs["deliveries.one", 0])
    await world.write_progress("one", Progress(0, None, 2))
    world.subscriptions.set("one", incarnation=2)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 2))
    assert world.subscriptions.paused == {}
    assert await world.cids("one") == shown(EVENTS[:1]) * 2


def test_a_transaction_names_its_own_record_and_none_that_may_yet_be_taken_back():
    """Goes red when it names the other's, which was put behind and looked at before: the next owner finds it gone."""
    where, batch = TopicPartition("progress", 0), RecordBatch()
    batch.fill([(b"k", b"v", -1, b"\0")], 0, 1 << 20)
    reached = Reached()
    ours, others = (reached.checked({where: [batch]}, {"progress": where}) for _ in range(2))
    assert others({where: [51]}) == "progress=51 incarnation=0"
    assert ours({where: [50]}) == "progress=50 incarnation=0"


def writes(position, *events):
    """What a delivery shard writes that came to a position, with the rows of some events."""
    rows = [Row("person", "p-1", 1, cid, "Renamed", 0, ordered=False, state=IN_FLIGHT) for cid in shown(events)]
    return DeliveryWrites({row_key(row): row for row in rows}, Progress(position, None, 1), 0)


async def opened(log):
    """Open a writer as a delivery shard does; return what is not settled."""
    await log.fence()
    await log.own_progress()
    return await log.unsettled(1)


async def test_rows_that_were_taken_back_are_not_looked_for_by_the_next_owner(monkeypatch):
    """Goes red when a transaction without rows names those of the one before it, which failed: it was paused."""
    world, end = World("one"), TransactionalWriter._end

    async def refused(*_):
        raise TimeoutError

    log = world.logs().delivering("one")
    await opened(log)
    await log.deliver(writes(1, *EVENTS[:1]))
    monkeypatch.setattr(TransactionalWriter, "_end", refused)
    with pytest.raises(UncertainError):
        await log.deliver(writes(2, *EVENTS[1:2]))
    monkeypatch.setattr(TransactionalWriter, "_end", end)
    await opened(log)
    await log.deliver(writes(2))
    found = await opened(world.logs().delivering("one"))
    assert [row.cid for row in found.rows] == shown(EVENTS[:1])


async def test_rows_that_lost_their_end_behind_a_decision_are_found_too():
    """Goes red when whoever decides about what is parked names no rows, and so the last owner's are named no more."""
    world = World("one")
    log = world.logs().delivering("one")
    await opened(log)
    await log.deliver(writes(1, *EVENTS[:1]))
    deciding = world.logs().delivering("one")
    await deciding.fence()
    await deciding.own_progress()
    await deciding.deliver(writes(1, *EVENTS[:1]))
    cut(world.model.logs["deliveries.one", 0])
    with pytest.raises(TargetError, match=r"^deliveries\.one-0 ends at offset 0, and it reached 3 before"):
        await opened(world.logs().delivering("one"))


OTHERS = {
    "another journal's": progress_key("one", "events.person", 7),
    "another writer's": progress_key("two", "events.person", 0),
    "the writer's own, of another position": progress_key("one", "events.person", 0),
}


def lose_to_others(world, topic, begin, key, value):
    """A topic loses what it has from an offset on, and somebody who does not know it writes as much, and one more."""
    log = world.model.logs[topic, 0]
    end = log.end
    log.truncate(begin)
    while log.end <= end:
        world.model.append((topic, 0), key, value)


@pytest.mark.parametrize("key", OTHERS.values(), ids=OTHERS)
async def test_progress_over_which_others_have_grown_is_noticed_by_who_delivers(key):
    """Goes red when any record will do where the group's offset names one: what was delivered would be once more."""
    world = World("one")
    log = world.logs().delivering("one")
    await opened(log)
    for position in (1, 2):
        await log.deliver(writes(position, *EVENTS[:position]))
    lose_to_others(world, "progress", 2, key, encode_progress(Progress(1, None, 1)))
    with pytest.raises(TargetError, match=r"^progress-0 lost what it had at offset 2, and has grown since"):
        await opened(world.logs().delivering("one"))


async def test_rows_over_which_another_kind_has_grown_are_noticed():
    """Goes red when any row will do there: what was in flight would never be delivered again."""
    world = World("one")
    log = world.logs().delivering("one")
    await opened(log)
    for position in (1, 2):
        await log.deliver(writes(position, EVENTS[position]))
    (cid,) = shown(EVENTS[:1])
    row = Row("incident", "i-1", 1, cid, "Opened", 0, ordered=True, state=IN_FLIGHT)
    lose_to_others(world, "deliveries.one", 2, row_key(row).encode(), encode_row(row))
    with pytest.raises(TargetError, match=r"^deliveries\.one-0 lost what it had at offset 2, and has grown since"):
        await opened(world.logs().delivering("one"))


async def test_what_ended_others_progress_and_was_grown_over_is_noticed_though_what_is_live_went_on():
    """Goes red when the group's offset names the last record alone: two streams were published once more."""
    world = World("one")
    await world.write_progress("one", Progress(0, None, 1))
    live = world.logs().live()
    await live.fence()
    await live.progress()
    await live.commit(Writes({}, {LIVE: Progress(1)}, 1))
    begin = world.model.logs["progress", 0].end
    await live.commit(Writes({}, {"one": None, LIVE: Progress(2)}, 2))
    lose_to_others(world, "progress", begin, OTHERS["another journal's"], encode_progress(Progress(9)))
    for position in (3, 4):
        await live.commit(Writes({}, {LIVE: Progress(position)}, position))
    following = world.logs().live()
    await following.fence()
    with pytest.raises(LostEndError, match=rf"^progress-0 lost what it had at offset {begin + 1}, "):
        await following.progress()


async def test_what_changed_others_progress_is_named_by_all_owners_that_follow():
    world = World("one")
    for position in (1, 2, 3):
        live = world.logs().live()
        await live.fence()
        assert (await live.progress()).keys() == ({LIVE} if position > 1 else set())
        changes = {"one": None} if position == 1 else {}
        await live.commit(Writes({}, {**changes, LIVE: Progress(position)}, position))
        await live.close()
    _, words = world.model.groups["annals.publish"].committed["events.person", 0]
    assert words == "progress=5 changed=1 incarnation=0"


@asynccontextmanager
async def watched(world, reached, told):
    watch = ReachedWatch(world.options(), lambda topic: topic == "progress", told.append)
    watch.follow([reached])
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_topic_that_lost_its_end_is_told_of_once_though_nothing_is_written_to_it(monkeypatch):
    monkeypatch.setattr("annals.workers.publishing.reached.LOOK_S", 0.01)
    world = World("one")
    for _ in range(2):
        world.model.append(("progress", 0), b"k", b"v")
    log, asked = world.model.logs["progress", 0], world.network.asked
    reached, told = Reached({TopicPartition("progress", 0): 2, TopicPartition("subscribers.one", 0): 9}), []
    async with watched(world, reached, told):
        log.truncate(1)
        await until(lambda: bool(told))
        reached[TopicPartition("progress", 0)] = 3  # what was known is another by now
        await until(lambda: len(told) == 2)
    assert asked == 0
    assert [(error.where, error.end) for error in told] == [(("progress", 0), 1)] * 2
    assert [str(error) for error in told] == [
        f"progress-0 ends at offset 1, and it reached {known} before" for known in (2, 3)
    ]
