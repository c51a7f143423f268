"""Copies of forwarded commands, found on a real broker: they tell what was decided where the group's offset is lost."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

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


async def last_forwarded(options: dict[str, str], where: tuple[str, int], first: int) -> int | None:
    """What is found where nothing is open."""
    return await copies.last_forwarded(options, where, first, pytest.fail)


async def test_the_last_command_with_a_copy_is_found_in_whichever_partition_it_is(bootstrap: str, topic: str) -> None:
    originals = [(0, b"%d" % number, None) for number in range(6)]
    copies = [(1, b"1", (0, 1)), (2, b"2", (0, 2)), (1, b"3", (0, 3)), (2, b"plain", None), (1, b"x", (2, 0))]
    await write(bootstrap, topic, *originals, *copies)
    options = {"bootstrap_servers": bootstrap}
    assert await last_forwarded(options, (topic, 0), 0) == 3
    assert await last_forwarded(options, (topic, 0), 3) == 3
    assert await last_forwarded(options, (topic, 0), 4) is None


async def test_headers_that_somebody_made_up_hide_no_command(bootstrap: str, topic: str) -> None:
    originals = [(0, b"%d" % number, None) for number in range(4)]
    made_up = [(1, b"1", (0, 1)), (1, b"other", (0, 2)), (2, b"3", (0, 1 << 40)), (1, b"3", (1, 3))]
    await write(bootstrap, topic, *originals, *made_up)
    assert await last_forwarded({"bootstrap_servers": bootstrap}, (topic, 0), 0) == 1
    assert await last_forwarded({"bootstrap_servers": bootstrap}, (topic, 2), 0) is None


async def test_a_long_partition_is_looked_through_in_steps(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.kafka.read.forwarded_commands.STEP_OFFSETS", 2)
    await write(bootstrap, topic, (0, b"0", None), (1, b"0", (0, 0)), *[(1, b"later", None)] * 5)
    assert await last_forwarded({"bootstrap_servers": bootstrap}, (topic, 0), 0) == 0


async def test_copies_behind_an_open_transaction_are_waited_for(bootstrap: str, topic: str) -> None:
    options = {"bootstrap_servers": bootstrap}
    told: asyncio.Queue[str] = asyncio.Queue()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-outsider") as outsider:
        await outsider.begin_transaction()
        await outsider.send_and_wait(topic, b"open", partition=2)
        await write(bootstrap, topic, (0, b"0", None), (2, b"0", (0, 0)))
        looking = asyncio.create_task(copies.last_forwarded(options, (topic, 0), 0, told.put_nowait))
        async with asyncio.timeout(WITHIN_S):
            assert f"open on {topic}-2 since offset 0" in await told.get()
        await write(bootstrap, topic, (2, b"later", None))
        await outsider.abort_transaction()
        async with asyncio.timeout(WITHIN_S):
            assert await looking == 0


async def test_what_was_sent_after_the_fence_is_not_waited_for(
    bootstrap: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"bootstrap_servers": bootstrap}
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
        assert await last_forwarded(options, (topic, 0), 0) == 0
        await outsider.abort_transaction()
