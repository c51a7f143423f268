"""A partition that nothing comes to is asked for less often while others are busy, and is not forgotten."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from annals.workers.kafka.group.active_partitions import ActivePartitions, AttentiveFetcher, FetchInterval
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.protocol.fetches import QuickFetchRequest
from chained import make_topics

pytestmark = pytest.mark.broker

KINDS = 12
WITHIN_S = 60.0


@pytest.fixture
async def topics(bootstrap: str, topic_prefix: str) -> list[str]:
    names = [f"{topic_prefix}{number}" for number in range(KINDS)]
    await make_topics(bootstrap, names)
    return names


async def test_what_comes_to_a_quiet_partition_is_read_while_another_is_busy(
    bootstrap: str, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    prepare = QuickFetchRequest.prepare

    def noting(request: QuickFetchRequest, versions: dict[int, tuple[int, int]]) -> object:
        asked.append(len(request.topics))
        return prepare(request, versions)

    monkeypatch.setattr(QuickFetchRequest, "prepare", noting)
    busy, quiet = topics[0], topics[-1]
    consumer = reading_consumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    over = asyncio.Event()

    async def keep_busy() -> None:
        while not over.is_set():
            await producer.send_and_wait(busy, b"busy")

    async with producer, consumer:
        assert isinstance(consumer._fetcher, AttentiveFetcher)
        consumer._fetcher.active_partitions = ActivePartitions()
        consumer.assign([TopicPartition(name, 0) for name in topics])
        await consumer.seek_to_beginning()
        sending = asyncio.create_task(keep_busy())
        try:
            async with asyncio.timeout(WITHIN_S):
                while asked.count(1) < 50:
                    await consumer.getmany(timeout_ms=100)
                await producer.send_and_wait(quiet, b"quiet")
                while not any(record.topic == quiet for record in await one_fetch(consumer)):
                    pass
        finally:
            over.set()
            await sending
    assert set(asked) >= {1, KINDS}


class Held(FetchInterval):
    """Holds a fetch until the test lets it begin."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.is_waiting, self.may_begin = asyncio.Event(), asyncio.Event()

    async def until_due(self, node: int) -> None:
        del node
        self.is_waiting.set()
        await self.may_begin.wait()


async def test_what_comes_while_a_fetch_waits_for_its_time_comes_together(bootstrap: str, topics: list[str]) -> None:
    consumer = reading_consumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    where = TopicPartition(topics[0], 0)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await consumer.start()
        try:
            held = consumer._fetcher.interval = Held()
            consumer.assign([where])
            await consumer.seek_to_beginning()
            async with asyncio.timeout(WITHIN_S):
                await held.is_waiting.wait()
                for number in range(5):
                    await producer.send_and_wait(topics[0], b"%d" % number)
                held.may_begin.set()
                while not (found := await consumer.getmany(timeout_ms=100)):
                    pass
            assert [record.value for record in found[where]] == [b"0", b"1", b"2", b"3", b"4"]
            held.may_begin.clear()
            held.is_waiting.clear()
            async with asyncio.timeout(WITHIN_S):
                await held.is_waiting.wait()
        finally:
            async with asyncio.timeout(WITHIN_S):
                await consumer.stop()  # the fetch that waits is given up


async def one_fetch(consumer) -> list:
    fetched = await consumer.getmany(timeout_ms=100)
    return [record for records in fetched.values() for record in records]
