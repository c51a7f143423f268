"""A re-keyed stream on Kafka: its writer, what reads a partition of it, and up to when that is read whole."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.ports import StoppedError, UnreachableError
from annals.schemas.progress import decode_progress, name_of, reaction_name, rekeying_name
from annals.schemas.values.moments import recorded_at
from annals.topics.catalog import REKEYED_TOPIC_BYTES
from annals.topics.headers import QUIET
from annals.topics.keys import partition_of
from annals.topics.names import rekeyer_id
from annals.workers.kafka.protocol.record_batches import headers_of
from annals.workers.kafka.read.carried import carried_of
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.kafka.read.settled_ends import records_until, settled_end
from annals.workers.kafka.write.failures import expiring, reaching
from annals.workers.publishing.reached import committed_here
from annals.workers.reacting.log import KafkaReactionLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.event_keys import Rekeyed
    from annals.agents.ports import Clock
    from annals.agents.reacting.ports import OutgoingCommand
    from annals.schemas.progress import Progress
    from annals.topics.headers import Header
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords


MOST_NAMED: Final = 128  # partitions in the metadata of an offset, of at most 4,096 bytes
FEW_BYTES: Final = 64 << 10
_QUIET: Final = QUIET.encode()


class KafkaRekeyingLog(KafkaReactionLog):
    """The transactional writer of what one journal partition has for a stream, and of how far it is copied."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        stream: Rekeyed,
        partition: int,
        partitions: int,
        app_id: str,
        invalid: InvalidRecords = PASSED_OVER,
        *,
        codec: str = "none",
    ) -> None:
        """Take aiokafka client options, the stream, which partition of how many of the journal this is, and so on."""
        self._another_name = stream.another_name
        super().__init__(
            options,
            names,
            stream.name,
            stream.kind,
            partition,
            partitions,
            app_id,
            invalid,
            codec=codec,
            begin_anew=stream.begin_anew,
        )

    async def progress(self) -> Progress | None:
        """Return how far the journal partition is copied."""
        found = await super().progress()
        if found is None:
            former = reaction_name(self._reaction)
            async for _, key, value in self._settled(self._names.progress):
                if value is not None and name_of(key, *self._journal) == former:
                    raise StoppedError(
                        f"{self._reaction} has reacted to {self._journal.topic}-{self._journal.partition} and was not "
                        f"re-keyed then. {self._another_name}"
                    )
        return found

    async def rows(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """Yield none: nothing is kept beside the stream."""
        nothing: tuple[tuple[bytes, bytes | None], ...] = ()
        for row in nothing:
            yield row

    def _name_of_progress(self, deployment: str | None) -> str:
        del deployment
        return rekeying_name(self._reaction)

    def _identity(self, events_topic: str, partition: int) -> str:
        return rekeyer_id(events_topic, partition, self._reaction)

    def _kept_in(self) -> str:
        return self._names.rekeyed(self._reaction)

    async def _written(self) -> dict[str, TopicPartition]:
        topic = self._kept_in()
        return {f"r{number}": TopicPartition(topic, number) for number in range(min(MOST_NAMED, await self._stream()))}

    async def _target(self, command: OutgoingCommand) -> tuple[TopicPartition, int]:
        return TopicPartition(self._kept_in(), partition_of(command.key, await self._stream())), REKEYED_TOPIC_BYTES

    async def _stream(self) -> int:
        """Return how many partitions the stream has.

        Raises:
            UnreachableError: it is not there.
        """
        topic = self._kept_in()
        count = await self._count(topic)
        if not count:
            raise UnreachableError(f"there is no topic {topic}: create it with `annals topics create`")
        return count


class KafkaHorizon:
    """Up to when one partition of a stream is read whole (the `Horizon` port).

    At a time, the ends of all journal partitions are asked for; when what copies them is committed as far, so is what
    they have for the stream, below the end that this partition of it has then.
    """

    def __init__(
        self,
        client: AIOKafkaClient,
        names: TopicNames,
        app_id: str,
        reaction: str,
        journals: Sequence[TopicPartition],
        stream: TopicPartition,
        clock: Clock,
    ) -> None:
        """Take a client that knows all topics, the reaction, the journal's partitions, and the stream's that it is."""
        self._client = client
        self._progress_topic = names.progress
        self._group = names.reacting_group(app_id, reaction)
        self._name = rekeying_name(reaction)
        self._journals = journals
        self._stream = stream
        self._clock = clock
        self._until = ""
        self._asked = ""  # when the ends that are waited for were asked for
        self._ends: dict[TopicPartition, int] = {}
        self._copied: dict[TopicPartition, int] = {}
        self._next_record: dict[TopicPartition, int] = {}  # behind what was copied when it was looked for
        self._end: int | None = None  # of the stream, once all of that was copied

    async def passed(self, due: str | None, position: int) -> str:
        """Return a time: all that the journals had then is in the stream below a position."""
        now = recorded_at(self._clock.now().astimezone(UTC))
        if now < max(self._until, self._asked):  # the clock stepped back, and journals get events of times before that
            self._until, self._asked, self._end = "", "", None
        if due is None or due <= self._until or due > now:
            return self._until
        with reaching("how far the journals are copied"), expiring():
            if not self._asked:
                found = await bounds(self._client, self._journals)
                self._asked, self._ends = now, {where: end for where, (_, end) in found.items()}
            if self._end is None:
                for where, end in self._ends.items():
                    if not await self.is_copied(where, end):
                        return self._until
                # Transactions that are committed as the group knows may still be open here: behind everything.
                self._end = (await bounds(self._client, [self._stream], HIGH_WATERMARK))[self._stream][1]
        if position >= self._end:
            self._until, self._asked, self._end = self._asked, "", None
        return self._until

    async def is_copied(self, where: TopicPartition, end: int) -> bool:
        """Whether what a journal partition has below an offset is copied, or was found to be nothing for the stream."""
        if self._copied.get(where, 0) >= end:
            return True
        committed = await committed_here(self._client, self._group, where)
        copied_until = await self._progress(where) if committed is None else committed[0]
        position = max(self._copied.get(where, 0), copied_until)
        if self._next_record.get(where, -1) < position < end:
            record = await self._record_from(where, position, end)
            if record is None:
                position = end  # markers of transactions alone
            else:
                self._next_record[where] = record
        self._copied[where] = position
        return position >= end

    async def _record_from(self, where: TopicPartition, start: int, end: int) -> int | None:
        """Return the offset of the first committed record between two offsets; None where there is none."""
        async with aclosing(read_range(self._client, where, start, end, FEW_BYTES)) as steps:
            async for records in steps:
                if records:
                    return records[0][0]
        return None

    async def _progress(self, where: TopicPartition) -> int:
        """Return how far a journal partition is copied, as the topic has it: a group forgets what is a week old."""
        count = len(self._client.cluster.partitions_for_topic(self._progress_topic) or ())
        if not count:
            return 0
        place, position = TopicPartition(self._progress_topic, where.partition % count), 0
        async for _, key, value, _ in records_until(self._client, place, -1, await settled_end(self._client, place)):
            if value is not None and name_of(key, *where) == self._name:
                try:
                    position = decode_progress(value).position
                except ValueError:  # whoever writes progress says so
                    continue
        return position


def carried_in_stream(raw: bytes) -> Sequence[Header]:
    """Return what is carried on of a record's headers; the mark of what is quiet is among that in a stream."""
    carried = carried_of(raw)
    if _QUIET not in raw:
        return carried
    try:
        is_quiet = any(name == QUIET for name, _ in headers_of(raw))
    except ValueError:
        is_quiet = False
    return [*carried, (QUIET, b"1")] if is_quiet else carried
