"""A topic's id stays as long as the topic, and one that was made anew has another: in memory as on a broker."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.topic_ids import topic_id
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from chained import make_topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WITHIN_S = 60


async def has_an_id_of_its_own(
    client: Any, make: Callable[[str], Awaitable[None]], delete: Callable[[str], Awaitable[None]]
) -> None:
    one, other = (f"t{secrets.token_hex(4)}" for _ in range(2))
    assert await topic_id(client, one) is None
    await make(one)
    await make(other)
    first = await topic_id(client, one)
    assert first is not None
    assert len(first) == 16
    assert await topic_id(client, one) == first
    assert await topic_id(client, other) not in {None, first}
    await delete(one)
    async with asyncio.timeout(WITHIN_S):
        while await topic_id(client, one) is not None:  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(0.05)
    await make(one)
    assert await topic_id(client, one) not in {None, first}
    await delete(one)
    await delete(other)


async def test_in_memory() -> None:
    model = MemoryCluster({})

    async def make(name: str) -> None:
        model.make_topic(name, Topic(1))

    async def delete(name: str) -> None:
        model.delete_topic(name)

    await has_an_id_of_its_own(Cluster(model).client(), make, delete)


@pytest.mark.broker
async def test_on_a_broker(bootstrap: str) -> None:
    client = await connect({"bootstrap_servers": bootstrap}, [])
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def make(name: str) -> None:
        await make_topics(bootstrap, [name])

    async def delete(name: str) -> None:
        await admin.delete_topics([name])

    try:
        await has_an_id_of_its_own(client, make, delete)
    finally:
        await admin.close()
        await client.close()
