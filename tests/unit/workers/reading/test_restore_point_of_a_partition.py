"""What a head start reads from Kafka, on a cluster in memory: ranges with what is carried, and the restore point."""

from __future__ import annotations

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.schemas.cid import cid_of, cid_text
from annals.topics.names import TopicNames
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.journal import KafkaShardLog
from annals.workers.kafka.write.recovery import ShardTopics
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reading.restore_point import KafkaRangedJournal, KafkaRestorePoint
from chained import TRACE, chain
from rotten import rot

NAMES = TopicNames("")
TOPICS = ("events.person", "restore.person", "commands.person", "snapshots.person")
LIST = cid_of(b"a list")


@pytest.fixture
def options():
    model = MemoryCluster({name: Topic(1) for name in TOPICS}, transaction_version=2)
    return {CLUSTER: Cluster(model, Direct()), "bootstrap_servers": "memory"}


async def write(options, topic, records, metadata=""):
    writer = TransactionalWriter(options, f"annals-{topic}", [topic, "commands.person"])
    await writer.fence()
    batch = RecordBatch()
    batch.fill([(key, value, NO_TIMESTAMP, encode_headers(headers)) for key, value, headers in records], 0, 1 << 20)
    offsets = Offsets("annals", "commands.person", 0, 3, metadata)
    await writer.commit({TopicPartition(topic, 0): [batch]}, offsets, {})
    await writer.close()


async def test_ranges_have_what_is_carried_to_subscribers(options):
    plain, (traced,) = chain("p-1", 1), chain("p-2", 1, traceparent=TRACE)
    await write(options, "events.person", [(each.key, each.value, each.headers) for each in (*plain, traced)])
    client = await connect(options, ["events.person"])
    journal = KafkaRangedJournal(client, "events.person", 0)
    end = (await journal.bounds())[1]
    found = [record async for records in journal.followed(0, end) for record in records]
    assert [(each.key, each.value) for each in found] == [(each.key, each.value) for each in (*plain, traced)]
    assert [list(each.carried) for each in found] == [[], [("traceparent", TRACE)]]
    assert (await journal.record_at(1)).value == traced.value
    assert await journal.record_at(9) is None


def point(client, options, *, is_used=True):
    return KafkaRestorePoint(client, options, NAMES, "annals", "person", 0, is_used=is_used)


async def test_the_committed_offset_names_it_and_its_topic_has_it(options):
    client = await connect(options, TOPICS)
    assert await point(client, options).named() is None
    await write(options, "restore.person", [(b"list", b"a list", [])], f"journal=3 restore={cid_text(LIST)}")
    assert await point(client, options).named() == LIST
    assert await point(client, options, is_used=False).named() is None
    found = [each async for records in point(client, options).restore_parts() for each in records]
    assert found == [(b"list", b"a list")]
    assert await point(client, options).event_at(0) is None


async def test_a_damaged_record_of_an_older_one_takes_nothing_from_it(options):
    """Goes red when one record that nobody needs any more has all of a partition's restore points refused."""
    model = options[CLUSTER].model
    client = await connect(options, TOPICS)
    topics = ShardTopics(kind="person", partition=0, names=NAMES, limits={}, dead_partitions=1, has_restore_points=True)
    shard = KafkaShardLog(options, topics, "shard", "annals", "none")
    for topic, read in (
        ("restore.person", point(client, options).restore_parts),
        ("restore.person", shard.restore_parts),
        ("snapshots.person", shard.snapshots),
    ):
        model.append((topic, 0), b"list", b"an older one")
        rot(model, (topic, 0))
        model.append((topic, 0), b"list", b"a list")
        found = [each async for records in read() for each in records]
        assert found[-1] == (b"list", b"a list")  # who reads takes what has the CID that is named


async def test_without_its_topic_the_journal_is_read(options, monkeypatch):
    monkeypatch.setattr("annals.workers.kafka.read.ranges.PATIENCE_S", 0.1)
    client = await connect(options, TOPICS)
    other = KafkaRestorePoint(client, options, NAMES, "annals", "agent", 0, is_used=True)
    with pytest.raises(UnreachableError, match=r"restore\.agent"):
        [each async for each in other.restore_parts()]
