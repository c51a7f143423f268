"""What those who write acknowledged, as the group's offset has it, and how far a journal reaches, in memory."""

from __future__ import annotations

from aiokafka.structs import TopicPartition

from annals.topics.group_metadata import NOTHING_KNOWN, EventAt
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reading.acknowledged import KafkaAcknowledged
from annals.workers.reading.restore_point import KafkaRangedJournal
from chained import chain

COMMANDS = TopicPartition("commands.person", 0)


async def test_the_last_event_of_those_who_write_is_known_to_those_who_read():
    model = MemoryCluster({"events.person": Topic(1), "commands.person": Topic(1)}, transaction_version=2)
    options = {CLUSTER: Cluster(model, Direct()), "bootstrap_servers": "memory"}
    client = await connect(options, ["events.person"])
    acknowledged = KafkaAcknowledged(client, "annals", COMMANDS)
    assert await acknowledged() == NOTHING_KNOWN
    (event,) = chain("p-1", 1)
    last = EventAt(0, event.cid)
    writer = TransactionalWriter(options, "annals-events.person-0", ["events.person", "commands.person"])
    await writer.fence()
    batch = RecordBatch()
    batch.fill([(event.key, event.value, NO_TIMESTAMP, encode_headers([]))], 0, 1 << 20)
    said = NOTHING_KNOWN._replace(journal_end=2, last=last)
    await writer.commit(
        {TopicPartition("events.person", 0): [batch]}, Offsets("annals", *COMMANDS, 1, said.encode()), {}
    )
    await writer.close()
    assert await acknowledged() == said
    assert await KafkaRangedJournal(client, "events.person", 0).reach() == 2
