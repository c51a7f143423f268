"""Copies of forwarded commands, found on a real broker: they tell what was decided where the group's offset is lost."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from annals.workers.kafka.read import forwarded_commands as copies
from chained import WITHIN_S, make_topics

pytestmark = pytest.mark.broker

PARTITIONS = 3


@pytest.fixture
async def topic(bootstrap: str, topic_prefix: str) -> str:
    name = f"{topic_prefix}commands.person"
    await make_topics(bootstrap, [name], PARTITIONS)
    return name


async def write(bootstrap: str, topic: str, *records: tuple[int, bytes, tuple[int, int] | None]) -> None:
    """Write records (partition, value, and of a copy the partition and offset of its original)."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for partition, value, origin in records:
            names = ("origin-partition", "origin-offset")
            headers = [(name, b"%d" % number) for name, number in zip(names, origin or (), strict=False)]
            await producer.send_and_wait(topic, value, partition=partition, headers=headers)


async def copies_of(bootstrap: str, topic: str, partition: int = 0, tell=pytest.fail) -> list[tuple[int, int, bytes]]:
    """What is found: partition, offset of the original, value."""
    options = {"bootstrap_servers": bootstrap}
    steps = [step async for step in copies.copies_of(options, TopicPartition(topic, partition), tell)]
    return [(copy.partition, copy.offset, copy.value) for step in steps for copy in step]


async def test_copies_are_found_in_whichever_partition_they_are(bootstrap: str, topic: str) -> None:
    made = [(1, b"1", (0, 1)), (2, b"2", (0, 2)), (1, b"3", (0, 3)), (2, b"plain", None), (1, b"x", (2, 0))]
    await write(bootstrap, topic, *made)
    assert await copies_of(bootstrap, topic) == [(1, 1, b"1"), (1, 3, b"3"), (2, 2, b"2")]
    assert await copies_of(bootstrap, topic, 2) == [(1, 0, b"x")]


async def test_a_copy_has_the_headers_of_its_original_and_its_origin_behind_them(bootstrap: str, topic: str) -> None:
    origin = [("origin-partition", b"0"), ("origin-offset", b"7")]
    ours = [("a", b"1"), ("origin-offset", b"x"), ("a", None)]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for headers in (
            [*ours, *origin],
            [*origin, *ours],
            origin[1:],
            origin[::-1],
            [origin[0], ("origin-offset", b"-7")],
        ):
            await producer.send_and_wait(topic, b"v", b"k", partition=1, headers=headers)
    (step,) = [
        step async for step in copies.copies_of({"bootstrap_servers": bootstrap}, TopicPartition(topic, 0), pytest.fail)
    ]
    assert step == [(1, 7, b"k", b"v", ours)]


async def test_a_long_partition_is_looked_through_in_steps_from_its_end(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.kafka.read.forwarded_commands.STEP_OFFSETS", 2)
    await write(bootstrap, topic, (1, b"0", (0, 0)), *[(1, b"later", None)] * 5, (1, b"1", (0, 1)))
    assert await copies_of(bootstrap, topic) == [(1, 1, b"1"), (1, 0, b"0")]


async def test_copies_behind_an_open_transaction_are_waited_for(bootstrap: str, topic: str) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-outsider") as outsider:
        await outsider.begin_transaction()
        await outsider.send_and_wait(topic, b"open", partition=2)
        await write(bootstrap, topic, (0, b"0", None), (2, b"0", (0, 0)))
        looking = asyncio.create_task(copies_of(bootstrap, topic, tell=told.put_nowait))
        async with asyncio.timeout(WITHIN_S):
            assert f"open on {topic}-2 since offset 0" in await told.get()
        await write(bootstrap, topic, (2, b"later", None))
        await outsider.abort_transaction()
        async with asyncio.timeout(WITHIN_S):
            assert await looking == [(2, 0, b"0")]


async def test_what_was_sent_after_the_fence_is_not_waited_for(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds, asked = copies.bounds, []
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-outsider") as outsider:

        async def then_sent(*args, **kwargs):
            found = await bounds(*args, **kwargs)
            if not asked:  # the ends have been asked for
                await outsider.begin_transaction()
                await outsider.send_and_wait(topic, b"open", partition=1)
            asked.append(args)
            return found

        monkeypatch.setattr(copies, "bounds", then_sent)
        await write(bootstrap, topic, (0, b"0", None), (1, b"0", (0, 0)))
        assert await copies_of(bootstrap, topic) == [(1, 0, b"0")]
        await outsider.abort_transaction()
