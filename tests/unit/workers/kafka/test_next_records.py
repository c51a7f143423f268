"""What one request brings of a topic that strangers write to: bounded by what it unpacks to, and nothing is lost."""

from __future__ import annotations

from aiokafka.structs import TopicPartition

from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read import ranges
from annals.workers.kafka.read.ranges import AHEAD_BYTES, RECORD_BYTES, STEP_BYTES, NextRecords
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.server import FETCH

WHERE = TopicPartition("acks.all", 0)
MEBIBYTE = 1 << 20
COUNT, SMALL, A_CALL = 60, 40_000, 500


class Fetches(Direct):
    """A network that counts what is asked for. fetches: how many."""

    fetches = 0

    async def ask(self, request, serve):
        self.fetches += request.API_KEY == FETCH
        return await super().ask(request, serve)


async def packed(network, count, value):
    """A client of a topic that has so many records in one batch, which takes next to nothing."""
    model = MemoryCluster({WHERE[0]: Topic(1), "commands.person": Topic(1)}, transaction_version=2)
    options = {CLUSTER: Cluster(model, network), "bootstrap_servers": "memory"}
    writer = TransactionalWriter(options, "annals-acks", [WHERE[0], "commands.person"])
    await writer.fence()
    batches = PartitionBatches(64 * MEBIBYTE, "zstd")
    for _ in range(count):
        batches.add(b"p-1", value, NO_TIMESTAMP, encode_headers([]))
    await writer.commit({WHERE: batches.batches}, Offsets("annals", "commands.person", 0, 0, ""), {})
    await writer.close()
    return await connect(options, [WHERE[0]])


async def test_what_unpacks_to_much_comes_in_parts():
    client = await packed(Direct(), COUNT, bytes(MEBIBYTE))
    offset, found, requests, is_end, reader = 0, 0, 0, False, NextRecords()
    while not is_end:
        records, offset, is_end = await reader.read(client, WHERE, offset, 2_000)
        assert sum(len(value or b"") for _, _, value, _ in records) <= STEP_BYTES + MEBIBYTE
        found, requests = found + len(records), requests + 1
    assert (found, requests) == (COUNT, 4)


async def test_a_batch_of_many_is_not_unpacked_anew_for_each_few():
    network = Fetches()
    client = await packed(network, SMALL, b"x")
    offset, found, is_end, reader = 0, [], False, NextRecords()
    while not is_end:
        records, offset, is_end = await reader.read(client, WHERE, offset, A_CALL)
        assert len(records) <= A_CALL
        found += [record[0] for record in records]
    assert found == list(range(SMALL))
    assert network.fetches <= SMALL * (RECORD_BYTES + 10) // AHEAD_BYTES + 2


async def test_all_in_a_process_keep_no_more_than_may_be_and_nothing_is_lost(monkeypatch):
    """Goes red where each partition of each subscription keeps as much as it may: a hundred hold 400 MB."""
    count, a_call, readers = 1_000, 100, 10
    monkeypatch.setattr(ranges, "MOST_AHEAD_BYTES", 2 * count * (RECORD_BYTES + 10))
    client = await packed(Direct(), count, b"x")
    reading = [NextRecords() for _ in range(readers)]
    found = [[] for _ in reading]
    while len(found[-1]) < count:
        for reader, offsets in zip(reading, found, strict=True):
            offsets += [record[0] for record in (await reader.read(client, WHERE, len(offsets), a_call)).records]
        assert sum(len(reader._ahead) for reader in reading) <= 2 * count
    assert found == [list(range(count))] * readers
    await reading[0].read(client, WHERE, 0, a_call)
    kept = [len(reader._ahead) for reader in reading]
    assert kept == [count - a_call] + [0] * (readers - 1), "there is room again"


async def test_what_is_kept_of_whom_nobody_asks_any_more_takes_no_room(monkeypatch):
    monkeypatch.setattr(ranges, "MOST_AHEAD_BYTES", 10 * (RECORD_BYTES + 10))
    client = await packed(Direct(), 10, b"x")
    for _ in range(3):
        reader = NextRecords()
        await reader.read(client, WHERE, 0, 1)
        assert len(reader._ahead) == 9
        del reader


async def test_who_goes_on_elsewhere_is_given_what_is_there():
    client, reader = await packed(Direct(), 10, b"x"), NextRecords()
    assert [record[0] for record in (await reader.read(client, WHERE, 0, 2)).records] == [0, 1]
    assert [record[0] for record in (await reader.read(client, WHERE, 5, 2)).records] == [5, 6]
    assert [record[0] for record in (await reader.read(client, WHERE, 7, 2)).records] == [7, 8]


async def test_the_end_is_told_of_what_was_asked_for_now():
    client, reader = await packed(Direct(), 3, b"x"), NextRecords()
    first, second = [await reader.read(client, WHERE, at, 2) for at in (0, 2)]
    assert (first.is_end, [record[0] for record in second.records], second.is_end) == (False, [2], False)
    assert await reader.read(client, WHERE, second.next_offset, 2) == ([], second.next_offset, True)
