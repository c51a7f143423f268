"""The topic `audit`, deleted and made anew: whoever has read it before notices, however long the new one is."""

import pytest
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from annals.schemas.settlement import SETTLEMENT_KEY
from annals.workers.dead_letters.reading import SettledTopic
from annals.workers.dead_letters.watch import DeadLetterMetrics, DeadLetterWatch
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import InvalidRecords
from annals.workers.kafka.read.last_record import LastRecord
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.partition import PartitionLog, Rules
from publishing import NAMES, World

WHERE = TopicPartition("audit", 0)
LETTERS = ("dead-letters", 0)


def settlement(request, *offsets):
    spans = ",".join(f"[{offset},{offset}]" for offset in offsets)
    return (
        f'{{"request_id":"{request}","principal":"me","method":"POST","path":"/","at":"now","status":202,"code":null,'
        f'"action":"discard","partition":0,"spans":[{spans}],"count":{len(offsets)}}}'
    ).encode()


class Cluster(World):
    def __init__(self):
        super().__init__()
        self.model = MemoryCluster({"audit": Topic(1), "dead-letters": Topic(1)}, transaction_version=2)

    def settle(self, *requests):
        for request, *offsets in requests:
            self.model.append(WHERE, SETTLEMENT_KEY, settlement(request, *offsets))

    def make_anew(self, where):
        self.model.logs[where] = PartitionLog(Rules())


@pytest.mark.parametrize("records", [1, 2, 3, 5])
async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(records):
    """Goes red when only a topic that has become shorter is taken for another one."""
    world, topic = Cluster(), SettledTopic("audit")
    client = await connect(world.options(), ["audit"])
    world.settle(("a", 0), ("b", 1))
    before = await topic.read(client)
    assert (before.of(0, 0).request_id, before.of(0, 1).request_id) == ("a", "b")
    world.settle(("c", 2))
    assert await topic.read(client) is before
    world.make_anew(WHERE)
    world.settle(*((f"new-{number}", 10 + number) for number in range(records)))
    after = await topic.read(client)
    assert after is not before
    assert [after.of(0, offset) for offset in (0, 1, 2)] == [None, None, None]
    assert [after.of(0, 10 + number).request_id for number in range(records)] == [
        f"new-{number}" for number in range(records)
    ]


async def test_records_that_are_none_are_counted_and_an_empty_topic_stays_the_same():
    world, registry = Cluster(), CollectorRegistry()
    topic = SettledTopic("audit", InvalidRecords(registry))
    client = await connect(world.options(), ["audit"])
    empty = await topic.read(client)
    assert await topic.read(client) is empty
    world.model.append(WHERE, SETTLEMENT_KEY, b"{" * 20_000)
    world.model.append(WHERE, b"a request", b"what any call leaves")
    world.settle(("a", 0))
    assert (await topic.read(client)).of(0, 0).request_id == "a"
    assert registry.get_sample_value("annals_records_invalid_total", {"topic": "audit"}) == 1


async def test_dead_letters_that_were_made_anew_are_counted_anew():
    world, registry = Cluster(), CollectorRegistry()
    watch = DeadLetterWatch(world.options(), NAMES, DeadLetterMetrics(registry), SettledTopic("audit"))
    for number in range(3):
        world.model.append(LETTERS, b"x", b"%d" % number)
    await watch.look()
    assert registry.get_sample_value("annals_dead_letters_open") == 3
    world.make_anew(LETTERS)
    for number in range(5):
        world.model.append(LETTERS, b"y", b"%d" % number)
    await watch.look()
    assert registry.get_sample_value("annals_dead_letters_open") == 5


async def test_what_is_settled_is_told_while_a_batch_is_damaged_elsewhere_than_in_its_record():
    """Goes red when the whole batch must be intact: list, replay and discard failed at each try."""
    world, topic = Cluster(), SettledTopic("audit")
    client = await connect(world.options(), ["audit"])
    world.settle(("a", 0))
    before = await topic.read(client)
    entry = world.model.logs[WHERE].entries[-1]
    entry.data = entry.data[:-1] + bytes([entry.data[-1] ^ 1])
    world.settle(("b", 1))
    assert await topic.read(client) is before
    assert before.of(0, 1).request_id == "b"


async def test_what_was_deleted_from_the_front_is_no_sign_of_another_topic():
    world = Cluster()
    client = await connect(world.options(), ["audit"])
    world.settle(("a", 0), ("b", 1))
    last = LastRecord.of(1, SETTLEMENT_KEY, settlement("b", 1))
    assert await last.is_there(client, WHERE)
    assert not await LastRecord.of(1, SETTLEMENT_KEY, None).is_there(client, WHERE)
    assert not await LastRecord.of(2, SETTLEMENT_KEY, b"").is_there(client, WHERE)
    world.model.logs[WHERE].start = 2
    assert await last.is_there(client, WHERE)
