"""What a head start asks of Kafka: the journal in ranges, and the restore point that the committed offset names."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.agents.reading.ports import FollowedRecord
from annals.topics.group_metadata import decode_metadata
from annals.workers.kafka.connections import MissingTopicError, connect
from annals.workers.kafka.read.carried import carried_of
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.kafka.read.offsets import HIGH_WATERMARK, committed
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.kafka.write.failures import expiring, reaching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.ports import JournalRecord, KeyAndValue
    from annals.topics.headers import Header
    from annals.topics.names import TopicNames


class KafkaRangedJournal:
    """A journal partition (the `RangedJournal` port)."""

    def __init__(
        self,
        client: AIOKafkaClient,
        topic: str,
        partition: int,
        carried: Callable[[bytes], Sequence[Header]] = carried_of,
        what: str = "the journal",
    ) -> None:
        """Take a client, which may serve many partitions, and which partition this is.

        carried: returns what is carried on of a record's headers. what: it is, where it cannot be read.
        """
        self._client = client
        self._carried = carried
        self._what = what
        self._where = TopicPartition(topic, partition)
        self._single = KafkaJournalPartition(client, topic, partition)

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset that is still there, and the last stable one."""
        with reaching("the journal"):
            return await self._single.bounds()

    async def record_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the committed record at an offset; None if there is none."""
        with reaching("the journal"), expiring():
            return await self._single.record_at(offset, cid)

    async def reach(self) -> int:
        """Return the offset behind everything, transactions that are open included."""
        with reaching("the journal"):
            return (await bounds(self._client, [self._where], HIGH_WATERMARK))[self._where][1]

    async def followed(self, start: int, end: int) -> AsyncIterator[Sequence[FollowedRecord]]:
        """Yield the committed records from `start` to below `end`, which is at most the last stable offset."""
        with reaching(self._what), expiring():
            async with aclosing(read_range(self._client, self._where, start, end)) as steps:
                async for records in steps:
                    yield [
                        FollowedRecord(offset, key, value, self._carried(raw)) for offset, key, value, raw in records
                    ]


class KafkaRestorePoint:
    """The restore point of a partition (the `NamedRestorePoint` port)."""

    def __init__(
        self,
        client: AIOKafkaClient,
        options: Mapping[str, Any],
        names: TopicNames,
        app_id: str,
        kind: str,
        partition: int,
        *,
        is_used: bool,
    ) -> None:
        """Take a client for offsets and the journal, aiokafka client options, and whose restore point it is.

        is_used: False where restore points are switched off.
        """
        self._is_used = is_used
        self._client = client
        self._options = options
        self._group = names.group(app_id)
        self._commands = TopicPartition(names.commands(kind), partition)
        self._restore = TopicPartition(names.restore(kind), partition)
        self._journal = KafkaRangedJournal(client, names.events(kind), partition)

    async def named(self) -> bytes | None:
        """Return the CID of the list that the committed offset of those who write names; None if it names none."""
        if not self._is_used:
            return None
        with reaching("the offset of those who write"):
            found = await committed(self._client, self._group, self._commands)
        return None if found is None else decode_metadata(found[1]).restore

    async def restore_parts(self) -> AsyncIterator[list[KeyAndValue]]:
        """Yield key and value of what is in the partition of `restore`, whoever wrote it.

        Who reads takes what has the CID that is named; a damaged record beside it, of an older one, takes nothing away.
        """
        with reaching(self._restore.topic), expiring():
            try:
                client = await connect(self._options, [self._restore.topic])
            except MissingTopicError as error:
                raise UnreachableError(str(error)) from error
            try:
                start, end = (await bounds(client, [self._restore]))[self._restore]
                reading = read_range(client, self._restore, start, end, is_checked=False, is_compacted=True)
                async with aclosing(reading) as steps:
                    async for records in steps:
                        yield [(key, value) for _, key, value, _ in records]
            finally:
                await client.close()

    async def event_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the journal's committed record at an offset below the last stable one."""
        return await self._journal.record_at(offset, cid)
