"""All partitions of some journals and re-keyed streams (the `Journals` port)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.structs import TopicPartition

from annals.agents.ports import JournalRecord
from annals.workers.kafka.connections import partitions_of
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.kafka.read.ranges import bounds, read_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.reading.ports import Key
    from annals.topics.names import TopicNames


class KafkaJournals:
    """Journals and streams on Kafka, read in ranges and by no group.

    partitions: how many each has, by its kind or by `rekeyed.<name>`; one that is found later is added to it.
    """

    def __init__(self, client: AIOKafkaClient, names: TopicNames, places: Iterable[str]) -> None:
        """Take a client, the kinds whose journals these are, and the places of streams.

        Raises:
            MissingTopicError: a topic is not there.
        """
        self._client = client
        self._names = names
        self.partitions = {place: partitions_of(client, names.of_place(place)) for place in places}

    async def bounds(self) -> dict[Key, tuple[int, int]]:
        """Return of each partition the first offset that is still there, and the last stable one."""
        wheres = {
            TopicPartition(self._names.of_place(place), at): (place, at)
            for place, partitions in self.partitions.items()
            for at in range(partitions)
        }
        return {wheres[where]: ends for where, ends in (await bounds(self._client, wheres)).items()}

    async def record_at(self, where: Key, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the committed record at an offset; None if there is none.

        cid: of the value that it is to have; one that has it is right, whatever else of its batch is damaged.

        Raises:
            DamagedBatchError: its batch is damaged, and it may be.
        """
        return await KafkaJournalPartition(self._client, self._names.of_place(where[0]), where[1]).record_at(
            offset, cid
        )

    async def records(self, where: Key, start: int, end: int) -> AsyncIterator[Sequence[JournalRecord]]:
        """Yield the committed records from `start` to below `end`, some at a time."""
        topic = TopicPartition(self._names.of_place(where[0]), where[1])
        async for records in read_range(self._client, topic, start, end):
            yield [JournalRecord(offset, key, value) for offset, key, value, _ in records]
