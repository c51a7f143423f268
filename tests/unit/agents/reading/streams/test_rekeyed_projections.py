"""A re-keyed projection on a log in memory: events of all partitions with one key are folded in one row, each once."""

import random
from dataclasses import replace

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import JournalRecord
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.ports import BrokenChainError, Member
from annals.agents.reading.projecting.rows import ROWS
from annals.agents.reading.read_models.read_models import ReadModels
from annals.agents.reading.read_models.refold import Refold, verify
from annals.schemas.kinds.person import ProfileUpdated
from annals.schemas.projection_record import ProjectionRecord
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import read_range
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import chain
from following import Clock, until
from projecting import Group, Topic
from publishing import at_each_step, eventually
from reading_stores import Killed, Stores
from rekeyed_rows import GATHERED, PLACE, RowsWorld, gather_rows
from rekeying import EVENTS, PARTITIONS, STREAM, looking_often, people

FIRST, SECOND = people(0, 1)[0], people(1, 1)[0]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    looking_often(monkeypatch)
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.LOOK_S", 0.02)
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.TOPIC_LOOK_S", 0.0)
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.FIRST_RETRY_S", 0.02)


async def is_whole(world, process, version=0):
    """Whether the rows have what the journals have by key."""
    rows = await process.rows(version)
    return {key: sorted(seen) for key, seen in rows.items()} == await world.by_key()


def in_order(rows):
    """Whether the events of each aggregate are in each row in their order, none of them twice."""
    for seen in rows.values():
        of_each = {}
        for said in seen:
            name, _, version = said.partition("@")
            of_each.setdefault(name, []).append(int(version))
        if any(versions != sorted(set(versions)) for versions in of_each.values()):
            return False
    return True


async def test_events_of_all_partitions_with_one_key_are_in_one_row():
    world = RowsWorld()
    async with world.process_of_rows() as process:
        await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
        await eventually(lambda: is_whole(world, process))
        rows = await process.rows()
        assert {key: set(seen) for key, seen in rows.items()} == {
            "command-1": {f"{FIRST}@1", f"{SECOND}@1"},
            "command-2": {f"{FIRST}@2", f"{SECOND}@2"},
        }
        page = await process.page(count="2")
        assert len(page.rows) == 2
        assert (page.missing, page.stale, page.lag.events) == ([], [], 0)
        assert page.positions == {PLACE: [world.model.logs[STREAM, at].stable for at in range(PARTITIONS)]}
    assert await world.streamed() == [(f"command-{number}", False) for number in (1, 1, 2, 2)]


async def test_what_was_recorded_before_is_folded_as_all_else():
    """Unlike a reaction, which is quiet up to where it was resumed: nothing in the stream is marked."""
    world = RowsWorld()
    await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
    async with world.process_of_rows() as process:
        await eventually(lambda: is_whole(world, process))
    assert [is_quiet for _, is_quiet in await world.streamed()] == [False] * 4


async def test_an_event_without_the_member_is_in_no_row():
    wanted = {"person": frozenset({ProfileUpdated})}
    world = RowsWorld(replace(GATHERED, key="data.preferred_name", wanted=wanted))
    async with world.process_of_rows() as process:
        for name, data in ((FIRST, {"preferred_name": "ada"}), (SECOND, {}), ("p-last", {"preferred_name": "ada"})):
            await world.record(chain(name, 1, data=data, type_name="ProfileUpdated"))

        async def has_both():
            return {key: set(seen) for key, seen in (await process.rows()).items()} == {
                "ada": {f"{FIRST}@1", "p-last@1"}
            }

        await eventually(has_both)


async def test_a_partition_of_the_stream_that_nobody_has_is_missing_in_the_answer():
    world = RowsWorld()
    await world.record([*chain(FIRST, 3), *chain(SECOND, 3)])
    async with world.process_of_rows() as whole:
        await eventually(lambda: is_whole(world, whole))
        rows = await whole.rows()
    async with world.process_of_rows(stream=(0,)) as process:
        await until(lambda: process.shards[0].status().reached)
        page = await process.page()
        assert [(each.kind, each.partition) for each in page.missing] == [(PLACE, 1)]
        assert page.positions[PLACE][1] is None
        found = await process.rows()
        assert found == {key: seen for key, seen in rows.items() if key in found}
        assert len(found) < len(rows)


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_each_event_is_folded_once(is_carried_out, monkeypatch):
    """The process that copies is killed at each third request; the next one goes on."""
    monkeypatch.setattr("annals.agents.reacting.reactor.RUN_EVENTS", 1)
    await at_each_step(killed_at, is_carried_out=is_carried_out, every=3)


async def killed_at(step, *, is_carried_out):
    world = RowsWorld()
    first, second = chain(FIRST, 3), chain(SECOND, 3)
    await world.record([*first[:2], *second[:2]])
    world.die_at(step, is_carried_out=is_carried_out)
    async with world.process_of_rows() as process:
        await eventually(lambda: is_over(world, process))
    has_died = world.next_process()
    await world.record([first[2], second[2]])
    async with world.process_of_rows() as process:
        await eventually(lambda: is_whole(world, process))
        assert in_order(await process.rows()), step
    assert len(await world.streamed()) == 6, step
    return has_died


async def is_over(world, process):
    return world.network.died.is_set() or await is_whole(world, process)


class Dying(Killed, MemoryReadingStore):
    """A store whose process is killed at a write."""


@pytest.mark.parametrize("seed", range(10))
async def test_whoever_has_which_partition_when_and_dies_the_rows_are_those_of_the_journals_by_key(seed):
    """Partitions of journal and stream move between two processes, one of which dies somewhere in each round."""
    chance = random.Random(seed)
    world = RowsWorld()
    there = {name: chain(name, 8) for name in (FIRST, SECOND, *people(0, 3)[1:])}
    recorded = dict.fromkeys(there, 0)
    for _ in range(4):
        for name, events in there.items():
            more = chance.randrange(3)
            await world.record(events[recorded[name] : recorded[name] + more])
            recorded[name] += more
        world.next_process()
        world.die_at(chance.randrange(50), is_carried_out=chance.random() < 0.5)
        dying, journal, stream = world.network, chance.randrange(2), chance.randrange(2)
        if chance.random() < 0.5:  # a worker that has nothing on its disk
            world.stores_of[stream] = Stores()
        async with world.process_of_rows((journal,), (stream,)) as one:
            world.next_process()
            async with world.process_of_rows((1 - journal,), (1 - stream,)) as other:
                one.shards |= other.shards

                async def is_done(one=one, dying=dying):
                    return dying.died.is_set() or await is_whole(world, one)

                await eventually(is_done)
    async with world.process_of_rows() as process:
        await eventually(lambda: is_whole(world, process))
        assert in_order(await process.rows())
    assert len(await world.streamed()) == sum(recorded.values())


@pytest.mark.parametrize("left", range(8))
async def test_killed_between_any_two_writes_of_its_store_it_folds_no_event_twice(left, monkeypatch):
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.RUN_EVENTS", 1)
    world = RowsWorld()
    await world.record([*chain(FIRST, 3), *chain(SECOND, 3)])
    async with world.process_of_rows(stream=()):
        await eventually(lambda: streamed(world, 6))
    dying = {}
    for at, stores in world.stores_of.items():
        dying[at] = stores.store = Dying()
        dying[at].left = left
    async with world.process_of_rows(journals=()) as process:
        ends = {at: world.model.logs[STREAM, at].stable for at in process.shards}

        def is_killed_or_done(at):
            return dying[at].left < 0 or process.shards[at].status().offset == ends[at]

        await until(lambda: all(map(is_killed_or_done, ends)))
    for each in dying.values():
        each.left = 1_000
    async with world.process_of_rows() as process:
        await eventually(lambda: is_whole(world, process))
        assert in_order(await process.rows())


class Broken(MemoryReadingStore):
    """A store whose rows are not those that were written, however often it is opened."""

    def get_many(self, keys):
        if any(key.startswith(ROWS) for key in keys):
            raise BrokenChainError("a row is not what was written")
        return super().get_many(keys)


async def test_a_store_whose_rows_are_not_those_that_were_written_is_set_aside_and_folded_anew():
    world = RowsWorld()
    for stores in world.stores_of.values():
        stores.store = Broken()
    await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
    async with world.process_of_rows() as process:
        await eventually(lambda: is_whole(world, process))
        assert in_order(await process.rows())
    assert not any(isinstance(stores.store, Broken) for stores in world.stores_of.values())


async def streamed(world, count):
    return len(await world.streamed()) >= count


async def test_a_new_version_is_built_from_the_stream_beside_the_one_that_answers():
    def shout(event, rows):
        gather_rows(event._replace(aggregate_id=event.aggregate_id.upper()), rows)

    newer = replace(GATHERED, version=2, fold=shout)
    world = RowsWorld()
    async with world.process_of_rows() as process:
        await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
        await eventually(lambda: is_whole(world, process))
        one = await process.rows()
    world.records = {"gathering": ProjectionRecord(name="gathering", version=1, positions={}, switched_ms=0)}
    async with world.process_of_rows(versions=(GATHERED, newer)) as process:

        async def has_both():
            return len(await process.rows(2)) == len(one) and not (await process.page(2)).stale

        await eventually(has_both)
        assert await process.rows(1) == one
        assert await process.rows(2) == {key: [said.upper() for said in seen] for key, seen in one.items()}
    assert len(await world.streamed()) == 4


class Here:
    """The shards of the stream (the `Here` port)."""

    def __init__(self, process):
        self.process = process

    def all(self):
        return list(self.process.shards.values())

    def partitions(self, kind):
        return PARTITIONS


async def test_all_turn_to_a_version_that_has_reached_the_former_one_in_all_partitions_of_the_stream():
    world = RowsWorld()
    async with world.process_of_rows() as process:
        await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
        await eventually(lambda: is_whole(world, process))
    both = (GATHERED, replace(GATHERED, version=2))
    one = ProjectionRecord(name="gathering", version=1, positions={}, switched_ms=0)
    world.records, topic = {"gathering": one}, Topic()
    topic.records = dict(world.records)
    me = Member("me", None, {}, {"gathering": 2})
    async with world.process_of_rows(versions=both) as process:
        models = ReadModels({"gathering": both}, REGISTRY, topic, Group(me), Clock())

        async def has_turned():
            models.apply(Here(process))
            return await models.turn({"local": LocalRows(process)}) == ["gathering"]

        await eventually(has_turned)
        written = topic.records["gathering"]
        ends = [world.model.logs[STREAM, at].stable for at in range(PARTITIONS)]
        assert (written.version, written.previous, written.positions) == (2, 1, {PLACE: ends})
        assert models.version_of("gathering") == 2
        assert await process.rows(2) == await process.rows(1)


async def test_rows_are_built_anew_beside_those_that_answer():
    world = RowsWorld()
    async with world.process_of_rows() as process:
        await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
        await eventually(lambda: is_whole(world, process))
        before = await process.rows()
    world.records = {
        "gathering": ProjectionRecord(name="gathering", version=1, positions={}, switched_ms=0, rebuilds=3)
    }
    async with world.process_of_rows() as process:

        async def is_built():
            known = (await process.page()).rebuilds[PLACE]
            return all(each is not None and each.done == 3 for each in known)

        await eventually(is_built)
        assert await process.rows() == before


async def test_an_event_that_cannot_be_folded_stops_that_version_alone_until_it_is_resumed():
    failing = {"is": True}

    def picky(event, rows):
        if event.version == 2 and failing["is"]:
            raise ValueError("not this one")
        gather_rows(event, rows)

    world = RowsWorld(replace(GATHERED, fold=picky))
    async with world.process_of_rows() as process:
        await world.record(chain(FIRST, 3))

        async def has_failed():
            return any("failed on PersonRenamed of person" in each.reason for each in (await process.page()).stale)

        await eventually(has_failed)
        (stale,) = {each.reason for each in (await process.page()).stale}
        assert f"{FIRST!r} version 2, {PLACE}, partition" in stale
        failing["is"] = False
        for each in process.shards.values():
            each.resume("gathering/1")
        await eventually(lambda: is_whole(world, process))


class Streams:
    """The stream alone (the `Journals` port)."""

    def __init__(self, world, client):
        self.world, self.client = world, client

    async def bounds(self):
        return {(PLACE, at): (0, self.world.model.logs[STREAM, at].stable) for at in range(PARTITIONS)}

    async def records(self, where, start, end):
        async for records in read_range(self.client, TopicPartition(STREAM, where[1]), start, end):
            yield [JournalRecord(*record[:3]) for record in records]


async def test_its_rows_are_verified_by_a_fold_of_the_stream():
    world = RowsWorld()
    async with world.process_of_rows() as process:
        await world.record([*chain(FIRST, 3), *chain(SECOND, 2)])
        await eventually(lambda: is_whole(world, process))
        client = await connect(world.options(), [STREAM])

        async def verified():
            refold = Refold(GATHERED, REGISTRY, {PLACE: PARTITIONS}, MemoryReadingStore())
            return await verify(GATHERED, 1, refold, Streams(world, client), LocalRows(process))

        found = await verified()
        assert (found.is_equal, found.events, found.rows) == (True, 5, 3)
        for stores in world.stores_of.values():
            rows = stores.store.rows
            stores.store.rows = {key: value.replace(b"@1", b"@7") for key, value in rows.items()}
        found = await verified()
        assert not found.is_equal
        assert found.differences[0].key == ["command-1"]


# --- What is gone ----------------------------------------------------------------------------------------------------


async def after_two(world):
    """Have the first events of two aggregates folded by a process that ends then; return where its key is."""
    await world.record([*chain(FIRST, 1), *chain(SECOND, 1)])
    async with world.process_of_rows() as process:
        await eventually(lambda: is_whole(world, process))
        (at,) = [at for at in range(PARTITIONS) if process.shards[at].status().offset]
    return at


@pytest.mark.parametrize("while_running", [False, True])
async def test_a_stream_that_lost_its_end_stops_its_shard_and_its_rows_answer_as_stale(while_running):
    world = RowsWorld()
    at = await after_two(world)
    log = world.model.logs[STREAM, at]
    if not while_running:
        log.truncate(1)
    async with world.process_of_rows(journals=()) as process:
        shard = process.shards[at]
        if while_running:
            await until(lambda: shard.status().phase == "reading")
            log.truncate(1)
        await until(lambda: shard.status().phase == "stopped")
        assert "it lost its end, or was made anew. Restore it; or give the projection another name" in shard.problem
        page = await process.page()
        assert [(each.partition, "lost its end" in each.reason) for each in page.stale] == [(at, True)]
        assert len(page.rows) == 1


async def test_a_stream_with_another_history_stops_its_shard():
    world = RowsWorld()
    at = await after_two(world)
    log = world.model.logs[STREAM, at]
    end = log.end
    log.truncate(1)
    (other,) = chain("p-other", 1)
    while log.end < end:
        await world.put(STREAM, b"command-1", other.value)
    async with world.process_of_rows(journals=()) as process:
        await until(lambda: process.shards[at].status().phase == "stopped")
        assert "this is another journal. Restore it; or give the projection another name" in process.shards[at].problem


@pytest.mark.parametrize("while_running", [False, True])
async def test_a_topic_that_was_made_anew_with_the_same_events_is_another_one(while_running):
    world = RowsWorld()
    at = await after_two(world)
    if not while_running:
        world.topic_id = bytes(15) + b"\2"
    async with world.process_of_rows() as process:
        shard = process.shards[at]
        if while_running:
            await until(lambda: shard.status().phase == "reading")
            world.topic_id = bytes(15) + b"\2"
            await world.record(chain(FIRST, 1, chain(FIRST, 1)[0]))
        await until(lambda: shard.status().phase == "stopped")
        assert "the topic was deleted and made anew" in shard.problem
        assert set((await process.rows())["command-1"]) == {f"{FIRST}@1", f"{SECOND}@1"}


async def test_a_topic_that_was_made_anew_and_is_shorter_is_said_to_be_another_one_from_the_start(monkeypatch):
    """Goes red when for a moment it is said to have lost its end: which of the two is seen is then a matter of time."""
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.TOPIC_LOOK_S", 3_600.0)
    world = RowsWorld()
    at = await after_two(world)
    async with world.process_of_rows(journals=()) as process:
        shard = process.shards[at]
        await until(lambda: shard.status().phase == "reading")
        world.topic_id = bytes(15) + b"\2"
        world.model.logs[STREAM, at].truncate(1)
        await until(lambda: shard.status().phase == "stopped")
        assert "the topic was deleted and made anew" in shard.problem


async def test_brokers_that_tell_no_ids_of_topics_keep_nothing_from_being_folded():
    world = RowsWorld()
    world.topic_id = None
    at = await after_two(world)
    world.topic_id = bytes(15) + b"\2"
    async with world.process_of_rows() as process:
        await until(lambda: process.shards[at].status().reached)
        assert process.shards[at].problem is None


async def test_while_brokers_do_not_tell_whose_a_topic_is_nothing_more_of_it_is_folded():
    world = RowsWorld()
    at = await after_two(world)
    known, world.topic_id = world.topic_id, None
    async with world.process_of_rows() as process:
        await world.record(chain(FIRST, 1, chain(FIRST, 1)[0]))
        await eventually(lambda: streamed(world, 3))
        assert not process.shards[at].status().reached
        world.topic_id = known
        await eventually(lambda: is_whole(world, process))


async def test_while_a_stream_cannot_be_read_again_and_again_readiness_says_why(monkeypatch):
    """Goes red when it says that it is not folded, and then nothing; or so of one that is folded again."""
    monkeypatch.setattr("annals.agents.backoff.LASTING_S", 0.05)
    world = RowsWorld()
    at = await after_two(world)
    known, world.topic_id = world.topic_id, None
    async with world.process_of_rows() as process:
        shard = process.shards[at]
        await until(lambda: shard.problem is not None)
        begun = f"{PLACE}-{at} begins to be folded again and again: "
        assert shard.problem.startswith(begun)
        assert "which topic" in shard.problem.removeprefix(begun)
        world.topic_id = known
        await world.record(chain(FIRST, 1, chain(FIRST, 1)[0]))
        await eventually(lambda: is_whole(world, process))
        await until(lambda: shard.problem is None)


async def test_a_stream_that_is_restored_is_gone_on_with_by_the_same_process(monkeypatch):
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.LAST_RETRY_S", 0.05)
    world = RowsWorld()
    at = await after_two(world)
    known, world.topic_id = world.topic_id, bytes(15) + b"\2"
    async with world.process_of_rows() as process:
        await until(lambda: process.shards[at].status().phase == "stopped")
        world.topic_id = known
        await world.record(chain(FIRST, 1, chain(FIRST, 1)[0]))
        await eventually(lambda: is_whole(world, process))


async def test_without_its_beginning_rows_go_on_and_cannot_be_built_anew():
    world = RowsWorld()
    at = await after_two(world)
    world.model.logs[STREAM, at].delete_before(1)
    world.records = {
        "gathering": ProjectionRecord(name="gathering", version=1, positions={}, switched_ms=0, rebuilds=1)
    }
    async with world.process_of_rows(journals=()) as process:

        async def has_failed():
            known = (await process.page()).rebuilds[PLACE][at]
            return known is not None and "events are gone" in (known.failed or "")

        await eventually(has_failed)
        (third,) = chain("p-third", 1)
        await world.put(STREAM, b"command-1", third.value, at)

        async def has_third():
            return "p-third@1" in (await process.rows())["command-1"]

        await eventually(has_third)


async def test_with_another_key_the_stream_is_not_read():
    world = RowsWorld()
    at = await after_two(world)
    other = replace(GATHERED, version=2, key="data.name")
    world.stores_of[at] = Stores()
    async with world.process_of_rows(journals=(), versions=(other,)) as process:
        await until(lambda: process.shards[at].status().phase == "stopped")
        assert "its key is not data.name. Give the projection another name" in process.shards[at].problem


async def test_a_stream_that_lost_its_end_stops_whoever_copies_to_it_and_says_what_to_do():
    world = RowsWorld()
    at = await after_two(world)
    world.model.logs[STREAM, at].truncate(1)
    async with world.process_of_rows(stream=()) as process:
        await until(lambda: any(each.phase == "stopped" for each in process.copiers.values()))
        problem = next(each.problem for each in process.copiers.values() if each.problem)
        assert "gathering in person-" in problem
        assert "does not copy" in problem
        assert "or give the projection another name, under which it begins anew." in problem
    assert world.model.logs[EVENTS, 0].stable
