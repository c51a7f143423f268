"""One shard's topics on a real broker for whoever folds its journal and writes nothing: the `LogRecovery` port."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from annals.agents.ports import JournalRecord, LogState, OutcomeRecord, StoppedError
from annals.topics.group_metadata import NOTHING_KNOWN, decode_metadata, digest_of
from annals.topics.headers import COMMAND_OFFSET, JOURNAL_OFFSET, decimal_header
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.forwarded_commands import copies_of, letters_of
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, committed, list_offsets
from annals.workers.kafka.read.ranges import RangeGoneError, read_range
from annals.workers.kafka.read.single_record import has_cid, record_at
from annals.workers.kafka.write.committed_records import read_partition
from annals.workers.kafka.write.failures import cutting, expiring, reaching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.ports import CommandRecord, CopyRecord, DeadLetterRecord, KeyAndValue
    from annals.topics.names import TopicNames
    from annals.workers.kafka.protocol.record_batches import Record


log = structlog.get_logger(__name__)

TAIL_OFFSETS: Final = 64  # how far from the end outcomes are looked for first; eightfold each time, up to the next
STEP_OFFSETS: Final = 32_768
STEP_BYTES: Final = 16 << 20
OUTCOME_BYTES: Final = 300  # of one in memory, beside its key and value


class ShardTopics:
    """The names and limits of one shard's topics."""

    def __init__(
        self,
        *,
        kind: str,
        partition: int,
        names: TopicNames,
        limits: Mapping[str, int],
        dead_partitions: int,
        has_restore_points: bool = False,
    ) -> None:
        """Take the topics' names and the `max.message.bytes` of events, outcomes, commands, dead-letters.

        has_restore_points: whether there is a topic for them.
        """
        self.partition = partition
        self.commands = TopicPartition(names.commands(kind), partition)
        self.events = TopicPartition(names.events(kind), partition)
        self.outcomes = TopicPartition(names.outcomes(kind), partition)
        self.snapshots = TopicPartition(names.snapshots(kind), partition)
        self.restore = TopicPartition(names.restore(kind), partition) if has_restore_points else None
        self.dead = TopicPartition(names.dead_letters, partition % dead_partitions)
        self.limits = limits

    def all(self) -> list[str]:
        """Return the topics whose leaders a writer must know."""
        more = [] if self.restore is None else [self.restore.topic]
        return [
            self.commands.topic,
            self.events.topic,
            self.outcomes.topic,
            self.snapshots.topic,
            self.dead.topic,
            *more,
        ]


class KafkaRecovery(ABC):
    """Looks at one shard's topics, and reads them."""

    def __init__(self, options: Mapping[str, Any], topics: ShardTopics, group: str) -> None:
        """Take aiokafka client options, the shard's topics, and the group that commits offsets of its commands."""
        self._options = options
        self._topics = topics
        self._group = group

    @abstractmethod
    async def _connected(self) -> AIOKafkaClient:
        """Return a client that knows the leaders of the topics."""

    async def look(self) -> LogState:
        """Ask Kafka where everything stands. Only behind the fence of its writer nothing of it can change any more.

        A writer that was fenced itself meanwhile looks on while its successor writes: so what is asked for later
        reaches as far as what was asked for before. First the group's offset, then up to where all is stable, then the
        ends. Otherwise older ends would seem to lack what the newer offset knows, or commands whose answers are there.
        """
        with reaching("the journal"):
            return await self._look()

    async def _look(self) -> LogState:
        topics = self._topics
        client = await self._connected()  # one that is there: a worker opens dozens of shards at once
        asked = [topics.events, topics.outcomes, topics.commands]
        starts = await list_offsets(client, HIGH_WATERMARK, FIRST, asked)
        group = await committed(client, self._group, topics.commands)
        stable = await list_offsets(client, LAST_STABLE, LAST, asked)
        ends = await list_offsets(client, HIGH_WATERMARK, LAST, asked)
        known = decode_metadata(group[1]) if group else NOTHING_KNOWN
        return LogState(
            committed=group[0] if group else None,
            committed_journal_end=known.journal_end,
            commands_start=starts[topics.commands],
            commands_stable=stable[topics.commands],
            commands_end=ends[topics.commands],
            outcomes_start=starts[topics.outcomes],
            outcomes_stable=stable[topics.outcomes],
            outcomes_end=ends[topics.outcomes],
            journal_start=starts[topics.events],
            journal_stable=stable[topics.events],
            journal_end=ends[topics.events],
            last_event=known.last,
            accepted_until=known.accepted_until,
            last_command=known.command,
            last_outcome=known.outcome,
            unsure_until=known.unsure_until,
            others=known.others,
            restore=known.restore,
        )

    async def read(self, start: int, end: int) -> AsyncIterator[list[JournalRecord]]:
        """Yield the journal's committed records from `start` until the position has reached `end`, in steps.

        Raises:
            StaleStateError: the journal does not reach from `start` any more.
        """
        with reaching("the journal"), cutting():
            async for records in read_partition(self._options, self._topics.events, start, end):
                yield [JournalRecord(record.offset, record.key, record.value) for record in records]

    async def newest_outcomes(self, seen: LogState) -> AsyncIterator[list[OutcomeRecord]]:
        """Yield what is in `outcomes` and speaks of commands that are there, newest first, from its end backwards.

        Whatever names no command that could be read is left out: others can write here, a topic can be made anew.
        """
        stop, reach = seen.outcomes_stable, TAIL_OFFSETS
        while stop > seen.outcomes_start:
            begin = max(seen.outcomes_start, stop - reach)
            try:
                begin, found = await self._outcomes_between(begin, stop, seen.commands_stable)
            except StoppedError:  # expired since `look`: the journal was folded meanwhile
                return
            if found:
                yield found
            stop, reach = begin, min(8 * (stop - begin), STEP_OFFSETS)

    async def _outcomes_between(self, begin: int, stop: int, commands_stable: int) -> tuple[int, list[OutcomeRecord]]:
        """Return the last outcomes of a range, newest first, no more than STEP_BYTES of them, and where they begin.

        commands_stable: the offset below which the commands are that they may speak of.

        Raises:
            StoppedError: the range expired meanwhile.
        """
        found: deque[tuple[int, OutcomeRecord]] = deque()
        size = 0
        with reaching("outcomes"):
            async for records in read_partition(self._options, self._topics.outcomes, begin, stop):
                for record in records:
                    offset = decimal_header(record.headers, COMMAND_OFFSET)
                    if offset is not None and offset < commands_stable:
                        end = decimal_header(record.headers, JOURNAL_OFFSET)
                        found.append((record.offset, OutcomeRecord(record.key, record.value, offset, end)))
                        size += _size(found[-1])
                    while size > STEP_BYTES and len(found) > 1:  # those before are left to the next step
                        size -= _size(found.popleft())
                        begin = found[0][0]
        return begin, [outcome for _, outcome in reversed(found)]

    async def command_at(self, offset: int) -> CommandRecord | None:
        """Return the command at an offset below the last stable one; None if there is none (any more)."""
        found: CommandRecord | None = None
        with reaching("commands"):
            try:
                async for records in read_partition(self._options, self._topics.commands, offset, offset + 1):
                    for record in records:
                        found = record
            except StoppedError:  # expired since `look`
                return None
        return found

    async def read_commands(self, start: int, stop: int) -> AsyncIterator[Sequence[CommandRecord]]:
        """Yield the committed commands from `start` to below `stop`, in steps."""
        with reaching("commands"), expiring():
            async for records in read_partition(self._options, self._topics.commands, start, stop):
                yield records

    async def command_digest(self, offset: int, expected: str = "") -> str | None:
        """Return the digest of the command at an offset below the last stable one; None if there is none (any more)."""
        with reaching("commands"):
            record = await self._record_at(self._topics.commands, offset, _has_digest(expected))
            return None if record is None else digest_of(record[2])

    async def outcome_digest(self, offset: int, expected: str = "") -> str | None:
        """Return the digest of the outcome at an offset below the last stable one; None if there is none (any more)."""
        with reaching("outcomes"):
            record = await self._record_at(self._topics.outcomes, offset, _has_digest(expected))
            return None if record is None else digest_of(record[2])

    async def event_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the journal's committed record at an offset below the last stable one; None if there is none."""
        with reaching("the journal"):
            record = await self._record_at(self._topics.events, offset, has_cid(cid))
            return None if record is None else JournalRecord(*record[:3])

    async def _record_at(
        self, where: TopicPartition, offset: int, is_proven: Callable[[Record], bool]
    ) -> Record | None:
        """Read one record by the connection that is there: an opening shard asks for several."""
        try:
            return await record_at(await self._connected(), where, offset, is_proven)
        except RangeGoneError:  # expired since `look`
            return None

    async def copies(self, tell: Callable[[str], None]) -> AsyncIterator[list[CopyRecord]]:
        """Yield what calls itself a copy of one of these commands, newest first in each of the other partitions.

        tell: is told what is waited for.
        """
        with reaching("commands"), expiring():
            async for copies in copies_of(self._options, self._topics.commands, tell):
                yield copies

    async def dead_letters(self) -> AsyncIterator[list[DeadLetterRecord]]:
        """Yield what calls itself a dead letter of one of these commands; nothing without the right to read them."""
        with reaching("dead letters"), expiring():
            where = self._topics.dead
            try:
                start, end = await self._reach(where)
                async for records in read_partition(self._options, where, start, end):
                    yield letters_of(records, self._topics.commands)
            except TopicAuthorizationFailedError:
                log.warning("dead letters may not be read: those of commands that are decided again come twice")

    async def outcomes_of(self, commands: Collection[tuple[bytes, bytes]]) -> AsyncIterator[OutcomeRecord]:
        """Yield what calls itself an outcome of these commands (aggregate id, command id, in UTF-8), oldest first."""
        with reaching("outcomes"), expiring():
            where = self._topics.outcomes
            start, end = await self._reach(where)
            async for records in read_partition(self._options, where, start, end):
                for record in records:
                    command_id = dict(record.headers).get("command-id") or b""
                    offset = decimal_header(record.headers, COMMAND_OFFSET)
                    if offset is not None and (record.key or b"", command_id) in commands:
                        end_then = decimal_header(record.headers, JOURNAL_OFFSET)
                        yield OutcomeRecord(record.key, record.value, offset, end_then)

    async def _reach(self, where: TopicPartition) -> tuple[int, int]:
        """Return the first and the last stable offset of a partition."""
        client = await connect(self._options, [where.topic])
        try:
            start = await list_offsets(client, HIGH_WATERMARK, FIRST, [where])
            end = await list_offsets(client, LAST_STABLE, LAST, [where])
        finally:
            await client.close()
        return start[where], end[where]

    @property
    def has_restore_points(self) -> bool:
        """Whether there is a topic for restore points."""
        return self._topics.restore is not None

    async def restore_parts(self) -> AsyncIterator[list[KeyAndValue]]:
        """Yield key and value of what is in the shard's partition of restore points."""
        if self._topics.restore is not None:
            async for records in self._compacted(self._topics.restore):
                yield records

    async def snapshots(self) -> AsyncIterator[list[KeyAndValue]]:
        """Yield key and value of what is in the shard's partition of snapshots."""
        async for records in self._compacted(self._topics.snapshots):
            yield records

    async def _compacted(self, where: TopicPartition) -> AsyncIterator[list[KeyAndValue]]:
        """Yield what is there, damaged or not: who reads takes the parts and snapshots whose CIDs are named."""
        with reaching(where.topic), expiring():
            start, end = await self._reach(where)
            client = await connect(self._options, [where.topic])
            try:
                async with aclosing(
                    read_range(client, where, start, end, is_checked=False, is_compacted=True)
                ) as steps:
                    async for records in steps:
                        yield [(key, value) for _, key, value, _ in records]
            finally:
                await client.close()


def _has_digest(digest: str) -> Callable[[Record], bool]:
    return lambda record: digest_of(record[2]) == digest


def _size(found: tuple[int, OutcomeRecord]) -> int:
    return OUTCOME_BYTES + len(found[1].key or b"") + len(found[1].value or b"")
