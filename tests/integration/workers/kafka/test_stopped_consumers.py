"""A consumer that has been stopped is disconnected, whatever came in between: a shard's reading is cancelled often."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from annals.workers.kafka.connections import stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.write import committed_records
from annals.workers.kafka.write.committed_records import read_partition
from chained import chain, make_topics, write

pytestmark = pytest.mark.broker

WITHIN_S = 60


@pytest.fixture
async def topic(bootstrap: str, topic_prefix: str) -> str:
    name = f"{topic_prefix}stopped"
    await make_topics(bootstrap, [name])
    await write(bootstrap, name, chain("p-1", 5))
    return name


async def until(answer: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not answer():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def is_connected(consumer: AIOKafkaConsumer) -> bool:
    return any(connection.connected() for connection in consumer._client._conns.values())


@asynccontextmanager
async def consuming(bootstrap: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has read what there is; disconnected at the end even where the test fails."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, retry_backoff_ms=60_000)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        await consumer.getmany(timeout_ms=WITHIN_S * 1_000)
        yield consumer
    finally:
        await consumer._client.close()


PARTS: dict[str, Callable[[AIOKafkaConsumer], asyncio.Task[Any]]] = {
    "coordinator": lambda consumer: consumer._coordinator._reset_committed_task,
    "fetcher": lambda consumer: consumer._fetcher._fetch_task,
    "client": lambda consumer: consumer._client._sync_task,
}


@pytest.mark.parametrize("part", PARTS)
async def test_a_reading_that_is_cancelled_once_more_while_it_stops_disconnects(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    made: list[AIOKafkaConsumer] = []

    def making(**options: Any) -> AIOKafkaConsumer:
        made.append(reading_consumer(**options))
        return made[0]

    async def read() -> None:
        async for _ in read_partition({"bootstrap_servers": bootstrap}, TopicPartition(topic, 0), 0, 1_000):
            pass

    monkeypatch.setattr(committed_records, "reading_consumer", making)
    reading = asyncio.create_task(read())
    await until(lambda: made and made[0]._fetcher is not None)  # it has started, and is assigned at once
    await until(lambda: made[0]._subscription.subscription.assignment.state_value(TopicPartition(topic, 0)).position)
    assert is_connected(made[0])
    # Called before `stop` goes on, which waits for the part's end. aiokafka's own comes no further then: not to its
    # client, if it waited for the coordinator.
    PARTS[part](made[0]).add_done_callback(lambda _: reading.cancel())
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await until(lambda: not is_connected(made[0]))
    assert made[0]._fetcher._fetch_task.done()


async def test_a_consumer_that_is_stopped_while_a_fetch_waits_after_a_failure_disconnects(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with consuming(bootstrap, topic) as consumer:
        failed = asyncio.Event()

        async def fail(*_: object) -> None:
            failed.set()
            raise KafkaConnectionError

        monkeypatch.setattr(consumer._client, "send", fail)
        await asyncio.wait_for(failed.wait(), WITHIN_S)
        await stop_consumer(consumer)
        assert not is_connected(consumer)
