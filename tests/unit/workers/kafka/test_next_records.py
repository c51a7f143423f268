"""What one request brings of a topic that strangers write to: bounded by what it unpacks to, and nothing is lost."""

from __future__ import annotations

from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read.ranges import STEP_BYTES, read_next
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic

WHERE = ("acks.all", 0)
MEBIBYTE = 1 << 20
COUNT = 60


async def test_what_unpacks_to_much_comes_in_parts():
    model = MemoryCluster({"acks.all": Topic(1), "commands.person": Topic(1)}, transaction_version=2)
    options = {CLUSTER: Cluster(model, Direct()), "bootstrap_servers": "memory"}
    writer = TransactionalWriter(options, "annals-acks", ["acks.all", "commands.person"])
    await writer.fence()
    packed = PartitionBatches(64 * MEBIBYTE, "zstd")
    for _ in range(COUNT):
        packed.add(b"p-1", bytes(MEBIBYTE), NO_TIMESTAMP, encode_headers([]))
    await writer.commit({WHERE: packed.batches}, Offsets("annals", "commands.person", 0, 0, ""), {})
    await writer.close()
    client = await connect(options, ["acks.all"])
    offset, found, requests, is_end = 0, 0, 0, False
    while not is_end:
        records, offset, is_end = await read_next(client, WHERE, offset, 2_000)
        assert sum(len(value or b"") for _, _, value, _ in records) <= STEP_BYTES + MEBIBYTE
        found, requests = found + len(records), requests + 1
    assert (found, requests) == (COUNT, 4)
