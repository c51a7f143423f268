"""One shard's topics on a broker for a standby (the `StandbyLog` port): it has no transactional id to fence with."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from annals.agents.ports import JournalRecord, StoppedError
from annals.workers.kafka.protocol.record_batches import FormatError
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.failures import cutting, reaching
from annals.workers.kafka.write.recovery import KafkaRecovery, ShardTopics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.read.stable_ends import StableEnds


class KafkaStandbyLog(KafkaRecovery):
    """Looks and reads by a client that all standbys of a worker share, which is in no group and in no transaction."""

    def __init__(self, options: Mapping[str, Any], topics: ShardTopics, group: str, ends: StableEnds) -> None:
        """Take aiokafka client options, the shard's topics, the group of its commands, and what has the client."""
        super().__init__(options, topics, group)
        self._ends = ends

    async def _connected(self) -> AIOKafkaClient:
        return await self._ends.client()

    async def read(self, start: int, end: int) -> AsyncGenerator[list[JournalRecord], None]:
        """Yield the journal's committed records from `start` to below `end`, whole fetches with right checksums.

        Raises:
            StoppedError: a batch of it is damaged.
            StaleStateError: the journal does not reach from `start` to `end` any more.
        """
        client = await self._connected()
        try:
            with reaching("the journal"), cutting():
                async with aclosing(read_range(client, self._topics.events, start, end)) as steps:
                    async for records in steps:
                        yield [JournalRecord(offset, key, value) for offset, key, value, _ in records]
        except FormatError as error:
            raise StoppedError(str(error)) from error

    async def until_moved(self, offset: int) -> int:
        """Wait until the journal's last stable offset is another one, and return it."""
        return await self._ends.until_moved(self._topics.events, offset)
