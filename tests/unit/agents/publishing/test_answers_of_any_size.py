"""Answers that are as large as their topic takes, or larger unpacked: they hold nobody up, and none is lost unseen."""

import asyncio
import json
from collections import Counter

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.publishing.delivering.answers import Reader
from annals.agents.publishing.delivering.ports import AckRecord, DeliveryWrites
from annals.agents.publishing.delivering.shard import ANSWER_BYTES_A_TURN
from annals.schemas.ack import LARGEST_BYTES
from annals.schemas.progress import Progress
from annals.schemas.subscription import Retry
from annals.topics.catalog import DEAD_LETTER_TOPIC_BYTES, SUBSCRIBER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.partition import Rules
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from chained import chain
from publishing import NAMES, World, eventually

LARGEST = SUBSCRIBER_TOPIC_BYTES - 200  # what one record of the topic has at most, but for its frame
ROOMY = Topic(1, Rules(max_message_bytes=DEAD_LETTER_TOPIC_BYTES))
ASKED = {"delivery": "acknowledged", "retry": Retry(ack_timeout_ms=60_000)}


def world_of(partitions=1):
    world = World("all")
    names = ("subscribers.all", "acks.all", "parked.all", "deliveries.all", "progress", "events.person")
    topics = {name: ROOMY._replace(partitions=partitions) for name in names}
    world.model = MemoryCluster({**topics, "dead-letters": ROOMY}, transaction_version=2)
    return world


async def send(world, value, key=b"p-1", headers=(), codec="none", times=1):
    writer = TransactionalWriter(world.options(), "annals-test-acks", ["acks.all"])
    await writer.fence()
    batch = RecordBatch(codec)
    assert batch.fill([(key, value, NO_TIMESTAMP, encode_headers(headers))] * times, 0, 1 << 30) == times
    await writer.commit({TopicPartition("acks.all", 0): [batch]}, Offsets("g", "acks.all", 0, 0, ""), {})
    await writer.close()


@pytest.mark.parametrize(
    ("sent", "is_whole"),
    [
        ({"value": b"{" * 1_000}, True),
        ({"value": b"{}".ljust(LARGEST_BYTES + 1)}, True),
        ({"value": b"[" * (1 << 20)}, True),
        ({"value": b"{", "headers": [("h", bytes(60_000))]}, True),
        ({"value": b"{" * LARGEST}, False),
        ({"value": b"{", "headers": [("h", bytes(LARGEST))]}, False),
        ({"value": b"{", "key": bytes(LARGEST)}, False),
        ({"value": bytes(20 << 20), "codec": "zstd"}, False),
    ],
)
async def test_what_is_no_answer_is_a_dead_letter_however_large_it_is_and_the_next_answer_counts(sent, is_whole):
    """Goes red when such a dead letter is more than its topic takes: nothing of the partition goes on then."""
    world = world_of()
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", **ASKED)
    async with world.shard() as shard, world.publisher(shard):

        async def has(count, role="subscribers"):
            return len(await world.received("all", role)) >= count

        await eventually(lambda: has(1))
        ((_, _, headers),) = await world.received("all")
        await send(world, **sent)
        await send(world, json.dumps({"cid": headers["ce_id"].decode(), "verdict": "ack"}).encode())

        async def is_settled():
            return world.counts.numbers.get("all") == (0, 0, 0)

        await eventually(is_settled)
    ((key, value, of_letter),) = await world.received("", "dead-letters")
    assert (of_letter["reason"], of_letter["source-topic"], of_letter["source-offset"]) == (
        b"bad_ack",
        b"acks.all",
        b"0",
    )
    if is_whole:
        assert (key, value) == (sent.get("key", b"p-1"), sent["value"])
        assert set(dict(sent.get("headers", ()))) <= set(of_letter)
    else:
        assert sent["value"].startswith(value)
        assert b"cut" in of_letter["message"]


@pytest.mark.parametrize("is_large", [False, True])
async def test_a_misplaced_answer_that_is_too_large_with_its_origin_is_a_dead_letter(is_large):
    """Goes red when it is neither moved nor told of, and the answers behind it are passed."""
    world = world_of(2)
    log = KafkaDeliveryLogs(world.options(), NAMES, "annals", "person", 0, 2, "none").delivering("all")
    await log.fence()
    value = b"{}".ljust(SUBSCRIBER_TOPIC_BYTES - 120 if is_large else 10)
    key = next(f"p-{number}".encode() for number in range(9) if partition_of(f"p-{number}".encode(), 2) == 1)
    answers = [AckRecord(7, key, value, [("h", b"x")])]
    await log.deliver(DeliveryWrites({}, Progress(0, None, 1, 8), at=1_234, moved=answers))
    await log.close()
    dead = await world.received("", "dead-letters")
    moved, _ = world.model.logs["acks.all", 1].committed(0, 10)
    if is_large:
        assert moved == []
        ((_, _, headers),) = dead
        assert (headers["reason"], headers["source-partition"], headers["source-offset"]) == (b"bad_ack", b"0", b"7")
        assert headers["source-timestamp"] == b"1234"
    else:
        assert dead == []
        ((_, there, _, headers, _),) = moved
        assert (there, [name for name, _ in headers]) == (key, ["h", "origin-partition", "origin-offset"])


async def test_no_turn_of_the_event_loop_looks_at_more_than_some_bytes_of_answers(monkeypatch):
    """Goes red when a fetch of answers that take long to read is one turn: heartbeats wait meanwhile."""
    turn, looked_at = 0, Counter()
    loop = asyncio.get_running_loop()

    def begin_turn():
        nonlocal turn
        turn += 1
        loop.call_soon(begin_turn)

    def read(self, record):
        looked_at[turn] += len(record.value)
        return original(self, record)

    original = Reader.read
    monkeypatch.setattr(Reader, "read", read)
    world = world_of()
    await send(world, b"[" * LARGEST_BYTES, times=40)
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", **ASKED)
    loop.call_soon(begin_turn)
    async with world.shard() as shard, world.publisher(shard):

        async def are_read():
            return len(await world.received("", "dead-letters")) == 40

        await eventually(are_read)
    assert looked_at.total() == 40 * LARGEST_BYTES
    assert max(looked_at.values()) <= ANSWER_BYTES_A_TURN
