"""A writer beyond a quota of the broker is told for how long to send nothing, and when that is too long."""

import os
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.ports import OutlastedError
from annals.topics.wire import encode_headers
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from chained import chain, make_topics, write
from quotas import limited

pytestmark = pytest.mark.broker

BATCH_BYTES = 1 << 20
NOTHING = encode_headers([])


@pytest.fixture
async def writer(
    request: pytest.FixtureRequest, bootstrap: str, topic_prefix: str
) -> AsyncIterator[TransactionalWriter]:
    """A writer to one topic under a client id that may write 2 kB a second, or as many bytes as a test asks for.

    A batch of BATCH_BYTES has it wait for some eight minutes: no stall of the machine lasts as long.
    """
    await make_topics(bootstrap, [f"{topic_prefix}t"])
    options = {"bootstrap_servers": bootstrap, "request_timeout_ms": 15_000, "client_id": topic_prefix}
    made = TransactionalWriter(options, f"{topic_prefix}id", [f"{topic_prefix}t"])
    async with limited(bootstrap, topic_prefix, producer_byte_rate=getattr(request, "param", 2_000)):
        await made.fence()
        try:
            yield made
        finally:
            await made.close()


async def commit(writer: TransactionalWriter, prefix: str, *, batches: int, size: int = BATCH_BYTES) -> None:
    """Commit so many record batches of one partition, which go one after the other."""
    made = PartitionBatches(size)
    for _ in range(batches):
        assert not made.add(b"k", os.urandom(size - 200), int(time.time() * 1000), NOTHING)
    assert len(made.batches) == batches
    offsets = Offsets(f"{prefix}g", f"{prefix}t", 0, 1, "")
    await writer.commit({TopicPartition(f"{prefix}t", 0): made.batches}, offsets, {})


async def test_a_transaction_that_goes_beyond_a_quota_with_its_last_request_is_committed(
    writer: TransactionalWriter, topic_prefix: str
) -> None:
    await commit(writer, topic_prefix, batches=1)
    assert writer.throttled_s > 10  # it did not wait for what is asked


async def test_one_that_a_quota_would_hold_up_beyond_its_time_is_given_up_at_once(
    writer: TransactionalWriter, topic_prefix: str
) -> None:
    with pytest.raises(OutlastedError, match="a quota has the brokers wait for"):
        await commit(writer, topic_prefix, batches=2)
    await writer.fence()
    with pytest.raises(OutlastedError, match="a quota has the brokers wait for"):  # it did not wait for the end of that
        await commit(writer, topic_prefix, batches=1)


@pytest.mark.parametrize("writer", [20_000], indirect=True)
async def test_a_short_wait_is_no_reason_to_give_up(writer: TransactionalWriter, topic_prefix: str) -> None:
    await commit(writer, topic_prefix, batches=2, size=120_000)
    assert writer.throttled_s < 10


async def test_a_range_is_read_though_a_quota_has_the_brokers_send_nothing_for_seconds(
    bootstrap: str, topic_prefix: str
) -> None:
    """Goes red when an answer without any partition, which is all that a broker sends meanwhile, ends the reading."""
    topic = f"{topic_prefix}read"
    await make_topics(bootstrap, [topic])
    await write(bootstrap, topic, chain("p-1", 26, data={"text": "x" * 100_000}))
    async with limited(bootstrap, topic_prefix, consumer_byte_rate=200_000):
        client = await connect({"bootstrap_servers": bootstrap, "client_id": topic_prefix}, [topic])
        try:
            offsets = [each[0] async for some in read_range(client, TopicPartition(topic, 0), 0, 26) for each in some]
        finally:
            await client.close()
    assert offsets == list(range(26))
