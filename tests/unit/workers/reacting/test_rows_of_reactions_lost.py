"""Topics of reactions that lost their end: the next owner finds it by what the last one committed, and does nothing."""

import pytest
from aiokafka.structs import TopicPartition

from annals.schemas.progress import Progress, encode_progress, progress_key, reaction_name
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.offsets import committed
from chained import chain
from following import until
from publishing import eventually
from reactors import ForeignWorld, ReactingWorld


async def has(world, count):
    return len(await world.said()) >= count


@pytest.mark.parametrize("topic", ["progress", "timers.counting"])
@pytest.mark.parametrize("is_emptied", [False, True])
async def test_rows_or_progress_that_lost_their_end_stop_the_next_owner(topic, is_emptied):
    world = ReactingWorld()
    world.journal.append(chain("p-1", 2))
    await world.begin()
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: has(world, 2))
    log = world.model.logs[topic, 0]
    if is_emptied:
        log.delete_before(log.end)
    else:
        log.truncate(1)
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await until(lambda: reactor.phase == "stopped")
        assert f"{topic}-0 {'begins' if is_emptied else 'ends'} at offset" in reactor.reason
        assert "the group annals.react.counting" in reactor.reason
    assert len(await world.said()) == 2


@pytest.mark.parametrize("events", [1, 2], ids=["a record taken back", "a marker"])
async def test_rows_whose_loss_the_last_owner_noticed_stop_the_next_owner_too(events):
    """What the last one wrote before it noticed, and took back, makes the topic as long as it was."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", events))
    await world.begin()
    async with world.shard() as shard:
        async with world.reactor(shard) as reactor:
            await eventually(lambda: has(world, events))
            log = world.model.logs["timers.counting", 0]
            reached = log.end - 1  # without the marker
            log.truncate(0)
            world.journal.append(chain("p-2", 1))
            await until(lambda: reactor.phase == "stopped")
            assert log.end >= reached
        async with world.reactor(shard) as reactor:
            await until(lambda: reactor.phase == "stopped")
            assert "timers.counting-0 lost what it had at offset" in reactor.reason
    assert len(await world.said()) == events


OURS = progress_key(reaction_name("counting"), "events.person", 0)
OLDER = "progress-0 has the progress 0 of counting, and it was 2 before"
OTHERS = "progress-0 lost what it had at offset 2, and has grown since"


@pytest.mark.parametrize(
    ("begin", "key", "reason"),
    [(1, b"live/events.person/7", OTHERS), (1, OURS, OTHERS), (None, OURS, OLDER)],
    ids=["others have grown over it", "its own of another position", "somebody wrote an older one"],
)
async def test_progress_that_is_not_what_it_was_stops_the_next_owner(begin, key, reason):
    """The partition reaches as far as before."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", 2))
    await world.begin()
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: has(world, 2))
    log = world.model.logs["progress", 0]
    end = log.end
    log.truncate(end if begin is None else begin)
    while log.end <= end:
        world.model.append(("progress", 0), key, encode_progress(Progress(0)))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await until(lambda: reactor.phase == "stopped")
        assert reason in reactor.reason
    assert len(await world.said()) == 2


@pytest.mark.parametrize("offset", [0, 9], ids=["lower", "higher"])
async def test_an_offset_that_a_tool_has_set_says_nothing(offset):
    """Goes red when the progress is held to it, and the reaction stops for good."""
    world = ReactingWorld()
    world.journal.append(chain("p-1", 2))
    await world.begin()
    async with world.shard() as shard, world.reactor(shard):
        await eventually(lambda: has(world, 2))
    world.model.groups["annals.react.counting"].committed["events.person", 0] = (offset, "")
    world.journal.append(chain("p-2", 1))
    async with world.shard() as shard, world.reactor(shard) as reactor:
        await eventually(lambda: has(world, 3))
        assert reactor.phase == "running"
    assert len(await world.said()) == 3


@pytest.mark.parametrize("topic", ["progress", "timers.counting"])
async def test_so_it_is_for_a_reaction_to_another_deployments_events(topic):
    world = ForeignWorld()
    world.append(chain("p-1", 2))
    await world.begin()
    async with world.reacting():
        await eventually(lambda: has(world, 2))
    world.model.logs[topic, 0].truncate(1)
    async with world.reacting() as reactor:
        await until(lambda: reactor.phase == "stopped")
        assert f"{topic}-0 ends at offset " in reactor.reason
    assert len(await world.said()) == 2
    client = await connect(world.options(), [])
    offset, said = await committed(client, "annals.react.counting", TopicPartition("progress", 0)) or (None, "")
    assert (offset, said.startswith("progress=")) == (0, True), "a lag of another's journal is nobody's here"
