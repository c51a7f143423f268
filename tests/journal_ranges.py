"""The source of a reading shard for tests on a broker: ranges of a journal partition, without a consumer group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from annals.agents.ports import Delivery
from annals.workers.kafka.read.ranges import bounds, read_range

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.agents.reading.following.shard import Shard

LOOK_S = 0.05


class Fetched(NamedTuple):
    """A record as a consumer delivers it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int = 0


class Ranges:
    """A source (`CommandSource`) that reads ranges of the journal up to its last stable offset."""

    def __init__(self, client: AIOKafkaClient, where: TopicPartition) -> None:
        self.generation = 0
        self.read_until = 0
        self.asked_from: int | None = None
        """The first offset that was asked for."""
        self._client = client
        self._where = where

    def deliver_from(self, offset: int) -> None:
        self.generation += 1
        self.read_until = offset
        self.asked_from = offset if self.asked_from is None else self.asked_from

    def decided_until(self, next_offset: int) -> int:
        return max(next_offset, self.read_until)

    def pause(self) -> None:
        """What was fetched is bounded by this test."""

    def resume(self) -> None:
        """As above."""

    async def run(self, shard: Shard) -> None:
        while True:
            generation, start = self.generation, self.read_until
            end = (await bounds(self._client, [self._where]))[self._where][1]
            if generation and start < end:
                async for records in read_range(self._client, self._where, start, end):
                    fetched = [Fetched(offset, key, value, []) for offset, key, value, _ in records]
                    if fetched:
                        shard.deliver(Delivery(*self._where, generation, fetched))
                if generation == self.generation:
                    self.read_until = end
            await asyncio.sleep(LOOK_S)  # as a consumer's fetch waits at the end
