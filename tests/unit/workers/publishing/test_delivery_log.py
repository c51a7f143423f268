"""Answers of subscribers as their topic has them: by one request, and from where there are any."""

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.publishing.delivering.ports import AckRecord, DeliveryWrites
from annals.agents.publishing.ports import Writes
from annals.agents.publishing.records import Outgoing
from annals.schemas.progress import LIVE, Progress
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.cluster import MemoryCluster, Topic
from publishing import Mortal, World


@pytest.fixture
def world():
    return World("all")


@pytest.fixture
async def asked(world):
    """A log that is connected, and the network that counts its requests."""
    network = Mortal()
    log = world.logs(network).delivering("all")
    await log.acks(0, 10)
    yield log, network
    await log.close()


async def send(world, *values, is_committed=True):
    writer = TransactionalWriter(world.options(), "annals-test-acks", ["acks.all"])
    await writer.fence()
    for value in values:
        batch = RecordBatch()
        batch.fill([(b"p-1", value, NO_TIMESTAMP, encode_headers([("a", b"b")]))], 0, 1 << 20)
        if is_committed:
            await writer.commit({TopicPartition("acks.all", 0): [batch]}, Offsets("g", "acks.all", 0, 0, ""), {})
    await writer.close()


async def test_answers_are_had_by_one_request_whether_there_are_any_or_not(world, asked):
    log, network = asked
    before = network.asked
    run = await log.acks(0, 10)
    assert (list(run.records), run.next_offset, run.is_end) == ([], 0, True)
    assert network.asked - before == 1
    await send(world, b"1", b"2")
    before = network.asked
    run = await log.acks(0, 10)
    assert network.asked - before == 1
    assert [(each.offset, each.key, each.value, list(each.headers)) for each in run.records] == [
        (0, b"p-1", b"1", [("a", b"b")]),
        (2, b"p-1", b"2", [("a", b"b")]),
    ]
    assert run.is_end
    assert run.next_offset == world.model.logs["acks.all", 0].stable, "markers are passed over"
    before = network.asked
    assert (await log.acks(run.next_offset, 10)).next_offset == run.next_offset
    assert network.asked - before == 1


async def test_no_more_answers_are_given_than_asked_for_and_the_rest_next_time(world, asked):
    log, _ = asked
    await send(world, b"1", b"2", b"3")
    run = await log.acks(0, 2)
    assert [each.value for each in run.records] == [b"1", b"2"]
    assert not run.is_end
    run = await log.acks(run.next_offset, 2)
    assert [each.value for each in run.records] == [b"3"]
    assert not run.is_end  # it was fetched with the others: more may have come since
    run = await log.acks(run.next_offset, 2)
    assert (list(run.records), run.is_end) == ([], True)


async def test_answers_are_read_from_the_first_where_the_topic_was_made_anew_or_expired(world, asked):
    log, _ = asked
    await send(world, b"1", b"2", b"3")
    run = await log.acks(1_000, 10)
    assert [each.value for each in run.records] == [b"1", b"2", b"3"]


async def test_an_answer_is_moved_to_a_partition_that_is_read_though_the_topic_has_more():
    """Goes red when it is moved by how many partitions somebody has made of them: of those that were added none is."""
    world = World("all")
    world.model = MemoryCluster(
        {"progress": Topic(1), "events.person": Topic(1), "dead-letters": Topic(1), "acks.all": Topic(8)},
        transaction_version=2,
    )
    log = world.logs().delivering("all")
    await log.fence()
    moved = [AckRecord(at, f"p-{at}".encode(), b"{}", ()) for at in range(8)]
    await log.deliver(DeliveryWrites({}, Progress(0, incarnation=1), 0, [], [], moved, []))
    await log.close()
    found = {where[1] for where, each in world.model.logs.items() if where[0] == "acks.all" and each.end}
    assert found == {0}


@pytest.mark.parametrize("delivers", [False, True], ids=["stream", "acknowledged"])
async def test_events_stay_in_the_partition_that_they_have_in_the_journal_though_the_topic_has_more(delivers):
    """Goes red when partitions that somebody adds to a subscriber's topic take aggregates out of their order."""
    world = World("all")
    topics = {"progress": 1, "events.person": 1, "dead-letters": 1, "subscribers.all": 8}
    world.model = MemoryCluster({name: Topic(count) for name, count in topics.items()}, transaction_version=2)
    records = [Outgoing(f"p-{at}".encode(), b"{}", ()) for at in range(8)]
    if delivers:
        log = world.logs().delivering("all")
        await log.fence()
        await log.deliver(DeliveryWrites({}, Progress(0, incarnation=1), 0, records, [], [], []))
    else:
        log = world.logs().live()
        await log.fence()
        await log.commit(Writes({"all": records}, {LIVE: Progress(0)}, 0))
    await log.close()
    assert {where[1] for where, each in world.model.logs.items() if where[0] == "subscribers.all" and each.end} == {0}
