"""Reading many records leaves the event loop to others in between, however well the records were packed."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from annals.agents.dead_letters.settled import Settled
from annals.agents.folding.turns import TURN_RECORDS
from annals.schemas.settlement import Settlement
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.dead_letters.reading import read_letters
from annals.workers.dead_letters.watch import LETTERS_A_TURN, OpenLetters
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.kafka.read.settled_ends import records_until
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WHERE = TopicPartition("dead-letters", 0)
MEBIBYTE = 1 << 20
SMALL, LARGE = 5_000, 60


class Others:
    """Whatever else the event loop has to do. turns: how often it was done."""

    turns = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@asynccontextmanager
async def beside() -> AsyncIterator[Others]:
    others = Others()
    task = asyncio.create_task(others.run())
    try:
        yield others
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def packed(count: int, value: bytes) -> Any:
    """A client of a cluster that has so many records in one batch, which takes next to nothing."""
    model = MemoryCluster({WHERE[0]: Topic(1), "commands.person": Topic(1)}, transaction_version=2)
    options = {CLUSTER: Cluster(model, Direct()), "bootstrap_servers": "memory"}
    writer = TransactionalWriter(options, "annals-dead-letters", [WHERE[0], "commands.person"])
    await writer.fence()
    batches = PartitionBatches(64 * MEBIBYTE, "zstd")
    for _ in range(count):
        batches.add(b"p-1", value, NO_TIMESTAMP, encode_headers([("source-timestamp", b"7")]))
    await writer.commit({WHERE: batches.batches}, Offsets("annals", "commands.person", 0, 0, ""), {})
    await writer.close()
    return await connect(options, [WHERE[0]])


async def test_small_records_come_some_hundreds_in_a_turn() -> None:
    client = await packed(SMALL, b"x")
    start, end = (await bounds(client, [WHERE]))[WHERE]
    for reading in (records_until(client, WHERE, start, end), read_letters(client, WHERE, start, end)):
        in_turn: Counter[int] = Counter()
        async with beside() as others:
            async for _ in reading:
                in_turn[others.turns] += 1
        assert in_turn.total() == SMALL
        assert max(in_turn.values()) == TURN_RECORDS


async def test_steps_of_one_fetch_come_in_turns_of_their_own() -> None:
    client = await packed(LARGE, bytes(MEBIBYTE))
    in_turn: Counter[int] = Counter()
    async with beside() as others:
        async for _ in read_range(client, WHERE, 0, LARGE):
            in_turn[others.turns] += 1
    assert in_turn.total() > 1
    assert set(in_turn.values()) == {1}


async def test_letters_that_were_settled_are_forgotten_some_in_a_turn() -> None:
    count, settled = 5 * LETTERS_A_TURN, Settled()
    letters = OpenLetters(settled)
    letters.begin(0, 0, count)
    for offset in range(count):
        letters.add(0, offset, 7)
    settled.add(Settlement("r", "me", "POST", "/", "now", 202, None, "replay", 0, [(1, count)], count))
    async with beside() as others:
        await asyncio.sleep(0)
        before = others.turns
        await letters.drop_settled()
        assert others.turns - before >= count // LETTERS_A_TURN
    assert letters.numbers() == (1, 7)
