"""What is said of a re-keyed reaction, who runs it where, and what stops it: events that are gone, or others."""

from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.agents.reacting.foreign import ForeignJournal
from annals.schemas.progress import Progress, encode_progress, progress_key, reaction_name
from annals.topics.keys import partition_of
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import PASSED_OVER, InvalidRecords
from annals.workers.reacting import wiring
from annals.workers.reacting.service import ReactionService
from annals.workers.reacting.telemetry import ReactionMetrics
from annals.workers.reacting.wiring import Reacting
from annals.workers.reading.restore_point import KafkaRangedJournal
from annals.workers.settings import Settings
from chained import chain
from following import run_meanwhile, until
from publishing import eventually
from rekeying import EVENTS, GATHERING, PARTITIONS, STREAM, RekeyedWorld, looking_often, people

FIRST, SECOND = people(0, 1)[0], people(1, 1)[0]
HERE = partition_of(b"command-1", PARTITIONS)
"""The stream's partition of the first events of all aggregates."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    looking_often(monkeypatch)


async def after_two(world):
    """Have the first events of two aggregates reacted to, by a process that ends then."""
    await world.resume()
    await world.record([*chain(FIRST, 1), *chain(SECOND, 1)])
    async with world.process() as reactors:
        await eventually(lambda: world.has(2))
        end = world.model.logs[STREAM, HERE].stable
        await until(lambda: reactors[f"stream {HERE}"].position == end)


@pytest.mark.parametrize("is_emptied", [False, True])
async def test_a_stream_that_lost_its_end_stops_whoever_copies_to_it(is_emptied):
    world = RekeyedWorld()
    await after_two(world)
    log = world.model.logs[STREAM, HERE]
    if is_emptied:
        log.delete_before(log.end)
    else:
        log.truncate(1)
    async with world.process(stream=()) as reactors:
        stopped = reactors["journal 0"], reactors["journal 1"]
        await until(lambda: any(each.phase == "stopped" for each in stopped))
        reason = next(each.reason for each in stopped if each.phase == "stopped")
        assert f"{STREAM}-{HERE} {'begins' if is_emptied else 'ends'} at offset" in reason
        assert "the group annals.react.gathering" in reason


async def test_a_stream_that_ends_before_what_was_reacted_to_stops_the_reaction():
    world = RekeyedWorld()
    await after_two(world)
    world.model.logs[STREAM, HERE].truncate(1)
    async with world.process(journals=()) as reactors:
        reactor = reactors[f"stream {HERE}"]
        await until(lambda: reactor.phase == "stopped")
        assert "it lost its end, or was made anew" in reactor.problem
    assert len(await world.said()) == 2


async def test_a_stream_that_loses_its_end_while_it_is_read_stops_the_reaction():
    world = RekeyedWorld()
    await world.resume()
    await world.record([*chain(FIRST, 1), *chain(SECOND, 1)])
    async with world.process() as reactors:
        await eventually(lambda: world.has(2))
        end = world.model.logs[STREAM, HERE].stable
        reactor = reactors[f"stream {HERE}"]
        await until(lambda: reactor.position == end)
        world.model.logs[STREAM, HERE].truncate(1)
        await until(lambda: reactor.phase == "stopped")
        assert "it lost its end, or was made anew" in reactor.problem


async def test_a_stream_with_another_history_stops_the_reaction():
    world = RekeyedWorld()
    await after_two(world)
    log = world.model.logs[STREAM, HERE]
    end = log.end
    log.truncate(1)
    (other,) = chain("p-other", 1)
    while log.end < end:
        await world.put(STREAM, b"command-1", other.value)
    async with world.process(journals=()) as reactors:
        reactor = reactors[f"stream {HERE}"]
        await until(lambda: reactor.phase == "stopped")
        assert "this is another journal" in reactor.problem
    assert len(await world.said()) == 2


async def test_a_new_version_does_not_fold_a_stream_that_lost_its_beginning():
    world = RekeyedWorld()
    await after_two(world)
    world.model.logs[STREAM, HERE].delete_before(1)
    async with world.process(journals=(), version=2) as reactors:
        reactor = reactors[f"stream {HERE}"]
        await until(lambda: reactor.phase == "stopped")
        assert "begins at offset 1, and what is read next is at 0: events are gone" in reactor.problem


async def test_with_another_key_the_stream_is_not_read():
    world = RekeyedWorld()
    await after_two(world)
    async with world.process(journals=(), version=2, key="data.name") as reactors:
        reactor = reactors[f"stream {HERE}"]
        await until(lambda: reactor.phase == "stopped")
        assert "its key is not data.name. Give the reaction another name" in reactor.problem


async def test_events_in_partitions_of_another_number_are_not_taken():
    world = RekeyedWorld()
    await world.resume()
    (event,) = chain(FIRST, 1)
    await world.put(STREAM, b"command-1", event.value, 1 - HERE)
    async with world.process(journals=()) as reactors:
        reactor = reactors[f"stream {1 - HERE}"]
        await until(lambda: reactor.phase == "stopped")
        assert "its key belongs to another of 2 partitions" in reactor.problem
    assert await world.said() == []


async def test_what_is_no_event_is_counted_and_passed_over():
    world = RekeyedWorld()
    registry = CollectorRegistry()
    await world.resume()
    for wrong in (None, b"nonsense", b"\xa0"):
        await world.put(STREAM, b"command-1", wrong)
    async with world.process(invalid=InvalidRecords(registry)):
        await world.record(chain(FIRST, 1))
        await eventually(lambda: world.has(1))
    assert registry.get_sample_value("annals_records_invalid_total", {"topic": STREAM}) == 3
    async with world.process():
        await world.record(chain(SECOND, 1))
        await eventually(lambda: world.has(2))


async def test_a_reaction_that_was_not_rekeyed_under_its_name_is_not_gone_on_with():
    world = RekeyedWorld()
    key = progress_key(reaction_name("gathering"), EVENTS, 0)
    await world.put("progress", key, encode_progress(Progress(0, version=1)), 0)
    world.switches.set("gathering", "active")
    async with world.process(stream=()) as reactors:
        await until(lambda: reactors["journal 0"].phase == "stopped")
        assert "was not re-keyed then. Give the reaction another name" in reactors["journal 0"].problem


async def test_its_state_says_how_far_the_journal_is_copied_and_the_stream_reacted_to():
    world = RekeyedWorld()
    service = ReactionService(Settings(partitions=PARTITIONS), world.options(), {"gathering": GATHERING})
    await world.record(chain(FIRST, 1))
    shown = await service.get("gathering")
    assert shown.body["positions"] == {"person": [None, None], "rekeyed.gathering": [None, None]}
    resumed = await service.resume("gathering")
    assert resumed.body["positions"]["person"] == [0, 0]
    assert resumed.body["lag"] == {"events": 1}
    progress = await world.all_progress()
    ends = [world.model.logs[EVENTS, at].stable for at in range(PARTITIONS)]
    assert progress == {
        f"rekey:gathering/{EVENTS}/{at}": Progress(0, version=1, quiet_until=end) for at, end in enumerate(ends)
    }
    world.switches.set("gathering", "active")
    async with world.process(stream=()):
        await eventually(lambda: streamed(world, 1))
    behind = await service.get("gathering")
    assert behind.body["lag"] == {"events": 1}
    async with world.process():

        async def is_whole():
            body = (await service.get("gathering")).body
            return body["lag"] == {"events": 0} and None not in body["positions"]["person"]

        await world.record(chain(SECOND, 1))
        await eventually(lambda: world.has(1))
        await eventually(is_whole)
    shown = await service.get("gathering")
    assert shown.body["positions"]["rekeyed.gathering"][HERE] == world.model.logs[STREAM, HERE].stable
    assert shown.body["timers"]["pending"] == 2
    world.model.logs[STREAM, HERE].truncate(0)
    assert "it reacted to events that its stream has no more" in (await service.get("gathering")).body["reason"]


async def streamed(world, count):
    return len(await world.streamed()) >= count


@asynccontextmanager
async def wired(world, monkeypatch, registry, *partitions):
    """A process of a worker that has these partitions of the journal."""
    monkeypatch.setattr(wiring, "FollowedControls", lambda *_: world.switches)
    client = await connect(world.options(), [])
    made = Reacting(
        Settings(partitions=PARTITIONS),
        world.options(),
        REGISTRY,
        {"gathering": GATHERING},
        {"person": PARTITIONS},
        world.clock,
        ReactionMetrics(registry),
        PASSED_OVER,
    )
    actors = []
    for at in partitions:
        journal = KafkaRangedJournal(client, EVENTS, at)
        source = ForeignJournal("here", "person", at, PARTITIONS, journal, world.clock, world.counted)
        actors += made.reactors(source, journal)
    async with run_meanwhile(*actors):
        yield made


async def test_each_partition_of_the_stream_is_read_beside_one_of_the_journal(monkeypatch):
    world, registry, other = RekeyedWorld(), CollectorRegistry(), CollectorRegistry()

    def up(registry, kind, at):
        labels = {"reaction": "gathering", "kind": kind, "partition": str(at)}
        return registry.get_sample_value("annals_reaction_up", labels)

    def copied(registry):
        return registry.get_sample_value("annals_reaction_rekeyed_total", {"reaction": "gathering"})

    async with wired(world, monkeypatch, registry, 0) as made:
        await world.resume()
        await until(lambda: up(registry, "person", 0) == up(registry, "rekeyed", 0) == 1)
        assert up(registry, "rekeyed", 1) is None
        async with wired(world, monkeypatch, other, 1):
            await world.record([*chain(FIRST, 1), *chain(SECOND, 1)])
            await eventually(lambda: world.has(2))
            await until(lambda: [copied(each) for each in (registry, other)] == [1, 1])
        assert made.problems() == []
