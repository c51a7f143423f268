"""Up to when a stream is read whole: a time counts once all that the journals had then was copied and is read."""

import pytest
from aiokafka.structs import TopicPartition

from annals.schemas.progress import Progress
from annals.workers.kafka.connections import connect
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.reacting.rekeyed import KafkaHorizon
from chained import chain
from publishing import NAMES
from reactors import EVENTS_AT, LATER
from rekeying import EVENTS, PARTITIONS, STREAM, RekeyedWorld, people

GROUP = "annals.react.gathering"
FIRST, SECOND = people(0, 1)[0], people(1, 1)[0]


@pytest.fixture
def world():
    world = RekeyedWorld()
    world.clock.at = LATER
    return world


async def horizon(world):
    client = await connect(world.options(), [])
    journals = [TopicPartition(EVENTS, at) for at in range(PARTITIONS)]
    return KafkaHorizon(client, NAMES, "annals", "gathering", journals, TopicPartition(STREAM, 0), world.clock)


async def copied(world, partition, position):
    """As who copies commits how far it is."""
    writer = TransactionalWriter(world.options(), f"annals-test-copied-{partition}", ["progress"])
    await writer.fence()
    await writer.commit({}, Offsets(GROUP, EVENTS, partition, position, "incarnation=0"), {})
    await writer.close()


async def test_before_a_timer_is_due_and_without_one_nothing_is_known(world):
    asked = await horizon(world)
    assert await asked.passed(None, 0) == ""
    assert await asked.passed("2026-11-21T09:31:00.000001Z", 0) == ""
    assert await asked.passed(LATER, 0) == LATER


async def test_all_journal_partitions_must_be_copied_up_to_where_they_ended_when_it_was_asked_first(world):
    await world.record([*chain(FIRST, 2), *chain(SECOND, 1)])
    asked = await horizon(world)
    assert await asked.passed(EVENTS_AT, 0) == ""
    await copied(world, 0, 3)
    assert await asked.passed(EVENTS_AT, 0) == ""
    world.clock.at = "2026-11-21T09:32:00.000000Z"
    await world.record(chain(FIRST, 1, chain(FIRST, 2)[1]))
    await copied(world, 1, 1)
    assert await asked.passed(EVENTS_AT, 0) == LATER


async def test_markers_of_transactions_alone_are_nothing_to_wait_for(world):
    await world.record(chain(FIRST, 1))
    assert world.model.logs[EVENTS, 0].stable == 2
    await copied(world, 0, 1)
    asked = await horizon(world)
    assert await asked.passed(EVENTS_AT, 0) == LATER
    world.clock.at = "2026-11-21T09:32:00.000000Z"
    await world.record(chain(FIRST, 1, chain(FIRST, 1)[0]))
    later = "2026-11-21T09:31:30.000000Z"
    assert await asked.passed(later, 0) == LATER
    await copied(world, 0, 3)
    assert await asked.passed(later, 0) == world.clock.at


async def test_the_stream_must_be_read_up_to_where_it_ended_then_open_transactions_included(world):
    await world.put(STREAM, b"command-1", chain(FIRST, 1)[0].value, 0)
    log = world.model.logs[STREAM, 0]
    asked = await horizon(world)
    assert await asked.passed(EVENTS_AT, 0) == ""
    await world.put(STREAM, b"command-1", chain(SECOND, 1)[0].value, 0)
    assert await asked.passed(EVENTS_AT, 1) == ""
    assert await asked.passed(EVENTS_AT, 2) == LATER
    assert log.end == 4


async def test_where_the_group_has_forgotten_it_the_topic_of_progress_says_how_far_it_is(world):
    await world.record(chain(FIRST, 1))
    asked = await horizon(world)
    assert await asked.passed(EVENTS_AT, 0) == ""
    await world.write_progress_in(0, Progress(1, version=1))
    assert await asked.passed(EVENTS_AT, 0) == LATER


@pytest.mark.parametrize("offset", [0, 9], ids=["lower", "higher"])
async def test_an_offset_that_a_tool_has_set_says_nothing_of_what_is_copied(world, offset):
    """Goes red when timers fire before the events that cancel them are copied, or wait though all of them are."""
    await world.record(chain(FIRST, 2))
    await copied(world, 0, 1)
    world.model.groups[GROUP].committed[EVENTS, 0] = (offset, "")
    asked = await horizon(world)
    assert await asked.passed(EVENTS_AT, 0) == ""
    await world.write_progress_in(0, Progress(3, version=1))
    assert await asked.passed(EVENTS_AT, 0) == LATER


async def test_a_clock_that_steps_back_makes_no_later_time_pass(world):
    """Goes red when a time that was passed by the former clock has timers fire as early as the clock stepped back."""
    asked = await horizon(world)
    world.clock.at = "2026-11-21T10:31:00.000000Z"
    assert await asked.passed(LATER, 0) == world.clock.at
    world.clock.at = "2026-11-21T09:31:01.000000Z"
    assert await asked.passed("2026-11-21T09:41:00.000000Z", 0) == ""
    await world.record(chain(FIRST, 1))
    assert await asked.passed(world.clock.at, 0) == ""
    await copied(world, 0, 1)
    assert await asked.passed(world.clock.at, 0) == world.clock.at


async def test_what_was_asked_before_a_clock_steps_back_is_asked_again(world):
    asked = await horizon(world)
    await world.record(chain(FIRST, 1))
    world.clock.at = "2026-11-21T10:31:00.000000Z"
    assert await asked.passed(LATER, 0) == ""
    world.clock.at = "2026-11-21T09:31:01.000000Z"
    await world.record(chain(SECOND, 1))
    await copied(world, 0, 1)
    assert await asked.passed(LATER, 0) == ""
    await copied(world, 1, 1)
    assert await asked.passed(LATER, 0) == world.clock.at
