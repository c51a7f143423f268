"""Where the topics of a conformance suite are: on a broker, or in memory, with either version of transactions."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition
from log_scripts import checked

from annals.agents.ports import UnreachableError
from annals.topics.names import TopicNames
from annals.topics.wire import encode_headers
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.batches import HEADER, TRANSACTIONAL, RecordBatch
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from chained import make_topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

SITES = ["memory, version 1", "memory, version 2", pytest.param("broker", marks=pytest.mark.broker)]
WITHIN_S = 60
NOW_MS = int(time.time() * 1000)
NOTHING = encode_headers([])


class Site:
    """Topics of one prefix. model: of the log in memory, None on a broker; opened: what is closed at the end."""

    def __init__(self, options: dict[str, Any], prefix: str, model: MemoryCluster | None = None) -> None:
        self.options = options
        self.names = TopicNames(prefix)
        self.model = model
        self.opened: list[Any] = []

    async def append(self, where: TopicPartition, value: bytes, key: bytes = b"k", headers: Any = ()) -> None:
        """Write a record that is part of no transaction, as anybody may."""
        made = RecordBatch()
        made.fill([(key, value, NOW_MS, encode_headers(headers))], 0, 1 << 20)
        fields = list(HEADER.unpack_from(made.build(-1, -1, -1)))
        fields[5] &= ~TRANSACTIONAL
        data = checked(HEADER.pack(*fields) + made.build(-1, -1, -1)[HEADER.size :])
        topic, partition = where
        client = await connect(self.options, [topic])
        try:
            leader = client.cluster.leader_for_partition(where)
            answer = await client.send(leader, ProduceRequest(None, -1, 30_000, [(topic, [(partition, data)])]))
            assert answer.topics[0][1][0][1] == 0
        finally:
            await client.close()

    async def expire(self, where: TopicPartition, before: int) -> None:
        """Let what is below an offset expire."""
        if self.model is not None:
            self.model.delete_records(where, before)
            return
        admin = AIOKafkaAdminClient(**self.options)
        await admin.start()
        try:
            await admin.delete_records({where: RecordsToDelete(before_offset=before)})
        finally:
            await admin.close()

    async def committed(self, topic: str, partition: int = 0) -> list[tuple[bytes | None, bytes | None, Any]]:
        """Return what a consumer of committed records reads: keys, values and headers."""
        where = TopicPartition(topic, partition)
        client = await connect(self.options, [topic])
        try:
            end = (await list_offsets(client, LAST_STABLE, LAST, [where]))[where]
            return [
                (key, value, headers_of(section))
                async for records in read_range(client, where, 0, end)
                for _, key, value, section in records
            ]
        finally:
            await client.close()

    async def close(self) -> None:
        for each in self.opened:
            await each.close()


S = TypeVar("S", bound=Site)


@asynccontextmanager
async def opened(site: Callable[..., S], request: pytest.FixtureRequest, topics: Mapping[str, int]) -> AsyncIterator[S]:
    """Make topics, each with its number of partitions, under a prefix of their own at the site of a parameter."""
    prefix = f"t{secrets.token_hex(4)}."
    if request.param == "broker":
        made = site({"bootstrap_servers": request.getfixturevalue("bootstrap")}, prefix)
        for count in sorted(set(topics.values())):
            names = [f"{prefix}{name}" for name, partitions in topics.items() if partitions == count]
            await make_topics(made.options["bootstrap_servers"], names, count)
    else:
        model = MemoryCluster(
            {f"{prefix}{name}": Topic(partitions) for name, partitions in topics.items()},
            transaction_version=int(request.param[-1]),
            now=time.time,
        )
        made = site({CLUSTER: Cluster(model)}, prefix, model)
    try:
        yield made
    finally:
        await made.close()


async def reached(ask: Callable[[], Any]) -> Any:
    """Ask until there is an answer: a broker that has just started makes its own topics first."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await ask()
            except UnreachableError:
                await asyncio.sleep(0.01)


async def until(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What is seen once markers are written, which a broker does after its answer."""
    async with asyncio.timeout(WITHIN_S):
        while not wanted(seen := await look()):  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(0.01)
    return seen
