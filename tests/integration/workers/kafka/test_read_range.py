"""Ranges of a partition, read from a real broker: what is committed, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read import ranges
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.read.ranges import RangeGoneError, bounds, is_overwritten, read_range
from chained import chain, make_topics, write
from whole_topics import until_settled

pytestmark = pytest.mark.broker


@pytest.fixture
async def topic(bootstrap: str, topic_prefix: str) -> str:
    name = f"{topic_prefix}ranges"
    await make_topics(bootstrap, [name])
    return name


@asynccontextmanager
async def connected(bootstrap: str, topic: str) -> AsyncIterator[AIOKafkaClient]:
    client = await connect({"bootstrap_servers": bootstrap}, [topic])
    try:
        yield client
    finally:
        await client.close()


async def end_of(client: AIOKafkaClient, topic: str) -> int:
    return (await list_offsets(client, LAST_STABLE, LAST, [TopicPartition(topic, 0)]))[TopicPartition(topic, 0)]


async def values(client: AIOKafkaClient, topic: str, start: int, end: int) -> list[tuple[int, bytes | None]]:
    return [
        (each[0], each[2]) async for some in read_range(client, TopicPartition(topic, 0), start, end) for each in some
    ]


async def transaction(bootstrap: str, topic: str, name: str, texts: list[bytes], *, aborts: bool = False) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name)
    await producer.start()
    try:
        await producer.begin_transaction()
        for text in texts:
            await producer.send_and_wait(topic, text, partition=0)
        await (producer.abort_transaction() if aborts else producer.commit_transaction())
    finally:
        await producer.stop()
    await until_settled(bootstrap, topic)


async def test_a_range_is_its_records_with_keys_values_and_headers(bootstrap: str, topic: str) -> None:
    events = chain("p-1", 5)
    await write(bootstrap, topic, events)
    async with connected(bootstrap, topic) as client:
        found = [each async for some in read_range(client, TopicPartition(topic, 0), 0, 5) for each in some]
    assert [(*each[:3], headers_of(each[3])) for each in found] == [
        (offset, each.key, each.value, each.headers) for offset, each in enumerate(events)
    ]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_are_read(bootstrap: str, topic: str, codec: str) -> None:
    events = chain("p-1", 50)
    await write(bootstrap, topic, events, compression_type=codec, linger_ms=50)
    async with connected(bootstrap, topic) as client:
        assert await values(client, topic, 0, 50) == [(each.version - 1, each.value) for each in events]


async def test_a_range_may_begin_and_end_within_a_batch(bootstrap: str, topic: str) -> None:
    events = chain("p-1", 20)
    await write(bootstrap, topic, events, linger_ms=100)
    async with connected(bootstrap, topic) as client:
        assert [offset for offset, _ in await values(client, topic, 7, 12)] == [7, 8, 9, 10, 11]
        assert await values(client, topic, 3, 3) == []


async def test_what_was_aborted_and_the_markers_are_not_there(bootstrap: str, topic: str) -> None:
    await transaction(bootstrap, topic, f"{topic}-a", [b"one", b"two"])
    await transaction(bootstrap, topic, f"{topic}-b", [b"taken", b"back"], aborts=True)
    await transaction(bootstrap, topic, f"{topic}-b", [b"three"])
    await transaction(bootstrap, topic, f"{topic}-a", [b"again"], aborts=True)
    await transaction(bootstrap, topic, f"{topic}-a", [b"four"])
    async with connected(bootstrap, topic) as client:
        end = await end_of(client, topic)
        whole = await values(client, topic, 0, end)
        assert [value for _, value in whole] == [b"one", b"two", b"three", b"four"]
        for start in range(end):  # wherever a range begins, in the midst of a transaction too
            assert await values(client, topic, start, end) == [each for each in whole if each[0] >= start]
        there = {offset for offset, _ in whole}
        assert [await is_overwritten(client, TopicPartition(topic, 0), at) for at in range(end)] == [
            at not in there for at in range(end)
        ]
        assert await is_overwritten(client, TopicPartition(topic, 0), end + 1)  # it was asked for where something was


async def test_more_than_one_fetch_is_joined_without_a_seam(bootstrap: str, topic: str) -> None:
    events = chain("p-1", 60, data={"text": "x" * 100_000})
    await write(bootstrap, topic, events)
    async with connected(bootstrap, topic) as client:
        steps = [len(some) async for some in read_range(client, TopicPartition(topic, 0), 0, 60)]
        assert sum(steps) == 60
        assert len(steps) > 2


async def test_a_record_larger_than_a_fetch_is_read(bootstrap: str, topic: str) -> None:
    events = chain("p-1", 3, data={"text": "x" * 3_500_000})
    await write(bootstrap, topic, events)
    async with connected(bootstrap, topic) as client:
        assert [value for _, value in await values(client, topic, 0, 3)] == [each.value for each in events]


async def test_reading_may_be_given_up_in_the_midst(bootstrap: str, topic: str) -> None:
    await write(bootstrap, topic, chain("p-1", 60, data={"text": "x" * 100_000}))
    async with connected(bootstrap, topic) as client:
        reading = read_range(client, TopicPartition(topic, 0), 0, 60)
        await anext(reading)
        await reading.aclose()
        assert [offset for offset, _ in await values(client, topic, 59, 60)] == [59]


async def test_what_was_cut_off_is_told(bootstrap: str, topic: str) -> None:
    await write(bootstrap, topic, chain("p-1", 10))
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=5)})
    await admin.close()
    async with connected(bootstrap, topic) as client:
        with pytest.raises(RangeGoneError, match="has no offset 0 any more"):
            await values(client, topic, 0, 10)
        assert [offset for offset, _ in await values(client, topic, 5, 10)] == [5, 6, 7, 8, 9]


async def test_a_connection_that_was_lost_is_made_anew(bootstrap: str, topic: str) -> None:
    await write(bootstrap, topic, chain("p-1", 60, data={"text": "x" * 100_000}))
    async with connected(bootstrap, topic) as client, asyncio.timeout(60):
        offsets = []
        async for some in read_range(client, TopicPartition(topic, 0), 0, 60):
            offsets += [each[0] for each in some]
            for connection in list(client._conns.values()):
                connection.close()
        assert offsets == list(range(60))


async def test_leaders_that_stay_away_are_waited_for_and_then_told(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PATIENCE_S", 3.0)
    async with connected(bootstrap, topic) as client:
        asked = 0

        async def fail(*_: object) -> None:
            nonlocal asked
            asked += 1
            raise TimeoutError

        monkeypatch.setattr(client, "send", fail)
        with pytest.raises(KafkaConnectionError, match="TimeoutError"):
            await bounds(client, [TopicPartition(topic, 0)])
        assert asked > 1
        monkeypatch.setattr(client.cluster, "leader_for_partition", lambda _: None)
        with pytest.raises(KafkaConnectionError, match="has no leader"):
            await values(client, topic, 0, 1)


async def test_what_is_refused_is_told_at_once(bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise TopicAuthorizationFailedError(topic)

    async with connected(bootstrap, topic) as client:
        monkeypatch.setattr(client, "send", refuse)
        with pytest.raises(TopicAuthorizationFailedError):
            await bounds(client, [TopicPartition(topic, 0)])
        with pytest.raises(TopicAuthorizationFailedError):
            await values(client, topic, 0, 1)
