"""The re-keyed projections of a process, wired: which partitions it folds, what it says, and what it waits for."""

from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.agents.reacting.foreign import ForeignJournal
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.read_models.read_models import ReadModels
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import InvalidRecords
from annals.workers.reading.restore_point import KafkaRangedJournal
from annals.workers.rekeying import stream_partition, wiring
from annals.workers.rekeying.telemetry import RekeyingProjectionMetrics
from annals.workers.rekeying.wiring import RekeyedProjections
from annals.workers.settings import Settings
from chained import chain
from following import Damages, run_meanwhile, until
from projecting import Group, Topic
from publishing import eventually
from rekeyed_rows import GATHERED, PLACE, Process, RowsWorld
from rekeying import EVENTS, PARTITIONS, STREAM, looking_often, people

FIRST, SECOND = people(0, 1)[0], people(1, 1)[0]
KNOWN = {"gathering": (GATHERED,)}


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    looking_often(monkeypatch)
    monkeypatch.setattr("annals.agents.reading.streams.rekeyed_shard.LOOK_S", 0.02)
    monkeypatch.setattr(wiring, "LOOK_S", 0.01)

    async def no_id(client, topic):
        return None

    monkeypatch.setattr(stream_partition, "topic_id", no_id)


@asynccontextmanager
async def wired(world, folder, registry, *partitions):
    """A process of a worker that has these partitions of the journal."""
    client = await connect(world.options(), [])
    found = {}
    models = ReadModels(KNOWN, REGISTRY, Topic(), Group(), world.clock)
    made = RekeyedProjections(
        Settings(partitions=PARTITIONS, data_dir=folder),
        client,
        world.options(),
        REGISTRY,
        {"person": PARTITIONS},
        models,
        found.__setitem__,
        lambda _: Damages(),
        world.clock,
        RekeyingProjectionMetrics(registry),
        InvalidRecords(registry),
    )
    actors = []
    for at in partitions:
        journal = KafkaRangedJournal(client, EVENTS, at)
        source = ForeignJournal("here", "person", at, PARTITIONS, journal, world.clock, world.counted)
        actors += made.beside(source, journal)
    async with run_meanwhile(*actors, beside=[made]):
        yield made, found


async def test_each_partition_of_the_stream_is_folded_beside_one_of_the_journal(tmp_path):
    world, one, two = RowsWorld(), CollectorRegistry(), CollectorRegistry()

    def up(registry, at):
        labels = {"projection": "gathering", "kind": "person", "partition": str(at)}
        return registry.get_sample_value("annals_projection_rekeying_up", labels)

    def lag(registry, at):
        labels = {"projection": "gathering", "partition": str(at)}
        return registry.get_sample_value("annals_projection_stream_lag", labels)

    def copied(registry):
        return registry.get_sample_value("annals_projection_rekeyed_total", {"projection": "gathering"})

    async with (
        wired(world, tmp_path / "one", one, 0) as (first, found),
        wired(world, tmp_path / "two", two, 1) as (second, _),
    ):
        await until(lambda: [each.partition for each in first.all()] == [0])
        await until(lambda: [each.partition for each in second.all()] == [1])
        assert (first.shard(PLACE, 1), second.shard(PLACE, 0)) == (None, None)
        await world.record([*chain(FIRST, 2), *chain(SECOND, 2)])
        both = Process(KNOWN, {}, {0: first.shard(PLACE, 0), 1: second.shard(PLACE, 1)})

        async def is_whole():
            rows = await both.rows()
            return {key: sorted(seen) for key, seen in rows.items()} == await world.by_key()

        await eventually(is_whole)
        await until(lambda: [copied(each) for each in (one, two)] == [2, 2])
        assert [up(one, 0), up(two, 1), up(one, 1)] == [1, 1, None]
        await until(lambda: [lag(one, 0), lag(two, 1)] == [0, 0])
        assert found == {PLACE: PARTITIONS}
        assert first.partitions(PLACE) == PARTITIONS
        assert (first.problems(), second.problems()) == ([], [])
    assert [up(one, 0), up(two, 1), lag(one, 0)] == [None, None, None]
    assert first.all() == []


async def test_its_own_writes_are_in_the_rows_once_what_was_copied_is_folded(tmp_path):
    world = RowsWorld()
    async with wired(world, tmp_path / "one", CollectorRegistry()) as (asked, _):
        await until(lambda: asked._counts == {PLACE: PARTITIONS})
        await world.record(chain(FIRST, 1))
        assert await asked.ends_with(GATHERED.stream, 0, 0) is None  # nobody copies it yet
        async with wired(world, tmp_path / "two", CollectorRegistry(), 0, 1) as (made, _):

            async def is_copied():
                return await asked.ends_with(GATHERED.stream, 0, 0) is not None

            await eventually(is_copied)
            ends = await asked.ends_with(GATHERED.stream, 0, 0)
            assert ends == [world.model.logs[STREAM, at].end for at in range(PARTITIONS)]
            for at, end in enumerate(ends):
                assert await made.shard(PLACE, at).until_offset(end, world.clock.monotonic() + 30)
            rows = await Process(KNOWN, {}, {at: made.shard(PLACE, at) for at in range(PARTITIONS)}).rows()
            assert rows == {"command-1": [f"{FIRST}@1"]}


async def test_a_stream_whose_topic_is_missing_is_waited_for_and_named(tmp_path):
    world = RowsWorld()
    topic = world.model.topics.pop(STREAM)
    logs = {where: world.model.logs.pop(where) for where in list(world.model.logs) if where[0] == STREAM}
    registry = CollectorRegistry()
    async with wired(world, tmp_path, registry, 0, 1) as (made, found):
        await world.record(chain(FIRST, 1))
        labels = {"projection": "gathering", "kind": PLACE, "partition": "0"}
        await until(lambda: registry.get_sample_value("annals_projection_rekeying_up", labels) == 0)
        with pytest.raises(NotReadyError, match=r"the topic rekeyed\.gathering was not found: create it"):
            made.partitions(PLACE)
        assert (made.all(), found) == ([], {})
        world.model.topics[STREAM] = topic
        world.model.logs |= logs
        await until(lambda: found == {PLACE: PARTITIONS})
        await until(lambda: len(made.all()) == PARTITIONS)


async def test_a_stream_that_is_not_folded_is_a_reason_not_to_be_ready(tmp_path):
    world = RowsWorld()
    async with wired(world, tmp_path, CollectorRegistry(), 0, 1) as (made, _):
        await world.record([*chain(FIRST, 1), *chain(SECOND, 1)])
        await eventually(lambda: streamed(world, 2))
        await until(lambda: any(each.status().offset for each in made.all()))
        (at,) = [each.partition for each in made.all() if each.status().offset]
        world.model.logs[STREAM, at].truncate(1)
        await until(lambda: bool(made.problems()))
        assert f"{PLACE}-{at} is not folded" in made.problems()[0]


async def streamed(world, count):
    return len(await world.streamed()) >= count
