"""One shard's topics on a real broker: the `ShardLog` port."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from annals.agents.ports import JournalRecord, LogState, OutcomeRecord, StoppedError, UnreachableError
from annals.schemas.outcome import ACCEPTED, decode_outcome
from annals.topics.headers import COMMAND_OFFSET, JOURNAL_OFFSET, decimal_header
from annals.topics.wire import encode_headers
from annals.workers.kafka.connections import connect, stop_consumer
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.read.forwarded_commands import last_forwarded
from annals.workers.kafka.read.offsets import FIRST, HIGH_WATERMARK, LAST, LAST_STABLE, committed, list_offsets
from annals.workers.kafka.write.batches import PartitionBatches, measured
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from annals.agents.ports import CommandRecord, Record, Writes

    Where = tuple[str, int]

READ_RECORDS: Final = 4_000  # one fold step: some 60 ms, so that heartbeats are never late
READ_TIMEOUT_MS: Final = 1_000
FETCH_BYTES: Final = 4 << 20
TAIL_OFFSETS: Final = 64  # how far from the end outcomes are looked for first; eightfold each time, up to the next
STEP_OFFSETS: Final = 32_768
NO_HEADERS: Final = encode_headers([])
JOURNAL_END: Final = re.compile(r"journal=(\d+)")


class ShardTopics:
    """The names and limits of one shard's topics."""

    def __init__(
        self, *, kind: str, partition: int, names: Any, limits: Mapping[str, int], dead_partitions: int
    ) -> None:
        """Take the topics' names and the `max.message.bytes` of events, outcomes, commands, dead-letters."""
        self.partition = partition
        self.commands: Where = (names.commands(kind), partition)
        self.events: Where = (names.events(kind), partition)
        self.outcomes: Where = (names.outcomes(kind), partition)
        self.snapshots: Where = (names.snapshots(kind), partition)
        self.dead: Where = (names.dead_letters, partition % dead_partitions)
        self.limits = limits

    def all(self) -> list[str]:
        """Return the topics whose leaders a writer must know."""
        return [self.commands[0], self.events[0], self.outcomes[0], self.snapshots[0], self.dead[0]]


class KafkaWrites:
    """The records of one transaction, batch by batch (the `Writes` port)."""

    def __init__(self, topics: ShardTopics, codec: str) -> None:
        """Take the shard's topics, and the codec of what it writes."""
        self._topics = topics
        self._codec = codec
        self._outcomes = PartitionBatches(topics.limits["outcomes"], codec)
        self._others: dict[Where, PartitionBatches] = {}
        self.events = PartitionBatches(topics.limits["events"], codec)

    def add_events(self, records: Sequence[Record]) -> None:
        """Add events of as many commands: each is all that its command caused."""
        if needed := self.events.add_each(records):
            raise StoppedError(f"an event of {needed} bytes exceeds the limit of {self._topics.events[0]}")

    def add_together(self, records: Sequence[Record]) -> None:
        """Add all events of a command to one record batch."""
        if needed := self.events.add_all(records):
            raise StoppedError(f"a command's events of {needed} bytes exceed the limit of {self._topics.events[0]}")

    def add_snapshot(self, key: bytes, value: bytes, timestamp_ms: int) -> None:
        """Add a snapshot; one that the topic would not take is left out: it is only a shortcut."""
        self._other(self._topics.snapshots, "snapshots").add(key, value, timestamp_ms, NO_HEADERS)

    def add_outcomes(self, records: Sequence[Record]) -> None:
        """Add outcomes. Their size is bounded by the bounds of what they repeat."""
        if needed := self._outcomes.add_each(records):
            raise StoppedError(f"an outcome of {needed} bytes exceeds the limit of {self._topics.outcomes[0]}")

    def add_dead_letter(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: bytes) -> None:
        """Add a dead letter: the offending bytes with the reason in headers."""
        if self._other(self._topics.dead, "dead-letters").add(key, value, timestamp_ms, headers):
            raise StoppedError(
                f"a dead letter of {len(value or b'')} bytes exceeds the limit of {self._topics.dead[0]}"
            )

    def add_forward(self, partition: int, key: bytes, value: bytes | None, timestamp_ms: int, headers: bytes) -> bool:
        """Add the copy of a misplaced command for another partition; False if it is too large for the topic."""
        if measured(key, value, timestamp_ms, headers) > self._topics.limits["commands"]:
            return False
        where = (self._topics.commands[0], partition)
        return not self._other(where, "commands").add(key, value, timestamp_ms, headers)

    def _other(self, where: Where, role: str) -> PartitionBatches:
        if where not in self._others:
            # the topic of commands is uncompressed: the broker would unpack them again
            codec = "none" if role == "commands" else self._codec
            self._others[where] = PartitionBatches(self._topics.limits[role], codec)
        return self._others[where]

    def by_partition(self) -> dict[Where, list[Any]]:
        """Return the batches of each partition that has any."""
        all_of = {self._topics.events: self.events, self._topics.outcomes: self._outcomes, **self._others}
        return {where: batches.batches for where, batches in all_of.items() if batches.count}


class KafkaShardLog:
    """Fence, look, read and write one shard's topics."""

    def __init__(
        self, options: Mapping[str, Any], topics: ShardTopics, transactional_id: str, group: str, codec: str
    ) -> None:
        """Take aiokafka client options, the shard's topics, its transactional id, group and codec."""
        self._options = options
        self._topics = topics
        self._group = group
        self._codec = codec
        self._writer = TransactionalWriter(options, transactional_id, topics.all())

    async def fence(self) -> None:
        """Become the only writer of the journal; see `TransactionalWriter.fence`."""
        with _reaching("the transaction coordinator"):
            await self._writer.fence()

    async def look(self) -> LogState:
        """Ask Kafka where everything stands. Call it after `fence`: only then nothing of it can change any more."""
        with _reaching("the journal"):
            return await self._look()

    async def _look(self) -> LogState:
        topics = self._topics
        client = await self._writer.connected()  # no connections of its own: a worker opens dozens of shards at once
        asked = [topics.events, topics.outcomes, topics.commands]
        ends = await list_offsets(client, HIGH_WATERMARK, LAST, asked)
        stable = await list_offsets(client, LAST_STABLE, LAST, asked)
        starts = await list_offsets(client, HIGH_WATERMARK, FIRST, asked)
        group = await committed(client, self._group, topics.commands)
        metadata = JOURNAL_END.search(group[1]) if group else None
        return LogState(
            committed=group[0] if group else None,
            committed_journal_end=int(metadata[1]) if metadata else None,
            commands_start=starts[topics.commands],
            commands_stable=stable[topics.commands],
            commands_end=ends[topics.commands],
            outcomes_start=starts[topics.outcomes],
            outcomes_stable=stable[topics.outcomes],
            outcomes_end=ends[topics.outcomes],
            journal_start=starts[topics.events],
            journal_stable=stable[topics.events],
            journal_end=ends[topics.events],
        )

    async def read(self, start: int, end: int) -> AsyncIterator[list[JournalRecord]]:
        """Yield the journal's committed records from `start` until the position has reached `end`, in steps.

        Raises:
            StoppedError: the journal does not reach from `start` to `end`.
        """
        with _reaching("the journal"):
            async for records in read_partition(self._options, self._topics.events, start, end):
                yield [JournalRecord(record.offset, record.key, record.value) for record in records]

    async def newest_outcomes(self, seen: LogState) -> AsyncIterator[list[OutcomeRecord]]:
        """Yield what is in `outcomes` and speaks of commands that are there, newest first, from its end backwards.

        Whatever names no command that could be read is left out: others can write here, a topic can be made anew.
        """
        stop, reach = seen.outcomes_stable, TAIL_OFFSETS
        while stop > seen.outcomes_start:
            begin = max(seen.outcomes_start, stop - reach)
            found: list[OutcomeRecord] = []
            try:
                with _reaching("outcomes"):
                    async for records in read_partition(self._options, self._topics.outcomes, begin, stop):
                        for record in records:
                            offset = decimal_header(record.headers, COMMAND_OFFSET)
                            if offset is not None and offset < seen.commands_stable:
                                end = decimal_header(record.headers, JOURNAL_OFFSET)
                                found.append(OutcomeRecord(record.key, record.value, offset, end))
            except StoppedError:  # expired since `look`: the journal was folded meanwhile
                return
            if found:
                yield found[::-1]
            stop, reach = begin, min(8 * reach, STEP_OFFSETS)

    async def command_at(self, offset: int) -> CommandRecord | None:
        """Return the command at an offset below the last stable one; None if there is none (any more)."""
        found: CommandRecord | None = None
        with _reaching("commands"):
            try:
                async for records in read_partition(self._options, self._topics.commands, offset, offset + 1):
                    for record in records:
                        found = record
            except StoppedError:  # expired since `look`
                return None
        return found

    async def lost_commands(self, commands: set[tuple[bytes, bytes]]) -> list[int]:
        """Return the offsets of these commands (aggregate id, command id, in UTF-8) whose newest outcome claims events.

        Their events are void: the outcome promised what the journal does not hold.
        """
        with _reaching("outcomes"):
            where = self._topics.outcomes
            client = await connect(self._options, [where[0]])
            try:
                start = (await list_offsets(client, HIGH_WATERMARK, FIRST, [where]))[where]
                end = (await list_offsets(client, LAST_STABLE, LAST, [where]))[where]
            finally:
                await client.close()
            lost: dict[tuple[bytes, bytes], int] = {}
            async for records in read_partition(self._options, where, start, end):
                for record in records:
                    headers = dict(record.headers)
                    command = record.key or b"", headers.get("command-id") or b""
                    if command in commands and decimal_header(record.headers, COMMAND_OFFSET) is not None:
                        try:
                            outcome = decode_outcome(record.value or b"")
                        except ValueError:  # a stranger's
                            continue
                        if outcome.status == ACCEPTED and outcome.events:
                            lost[command] = int(headers["command-offset"])
                        else:
                            lost.pop(command, None)
            return list(lost.values())

    async def last_forwarded(self, first: int, tell: Callable[[str], None]) -> int | None:
        """Return the last command from `first` on that has a copy in another partition, None if none has.

        tell: is told what is waited for.
        """
        with _reaching("commands"):
            return await last_forwarded(self._options, self._topics.commands, first, tell)

    def writes(self) -> KafkaWrites:
        """Return an empty transaction's records."""
        return KafkaWrites(self._topics, self._codec)

    async def commit(self, writes: Writes, next_offset: int, expected_base: int) -> None:
        """Write it all, with the offset, in one transaction.

        next_offset: the first command offset that is not decided; expected_base: where the journal ends now.

        Raises:
            FencedError, UncertainError: see `TransactionalWriter.commit`; uncertain too when an event would not stand
                where this writer, being the only one, expects it.
        """
        assert isinstance(writes, KafkaWrites)  # noqa: S101 - the port's own type
        topic, partition = self._topics.commands
        journal_end = expected_base + (writes.events.count + 1 if writes.events.count else 0)
        offsets = Offsets(self._group, topic, partition, next_offset, f"journal={journal_end}")
        await self._writer.commit(writes.by_partition(), offsets, {self._topics.events: expected_base})

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    """Turn what the client raises when it gets no answer into the port's own word."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError, AssertionError) as error:
        raise UnreachableError(f"no answer from {what}: {type(error).__name__}: {error}") from error


async def read_partition(options: Mapping[str, Any], where: Where, start: int, end: int) -> AsyncIterator[list[Any]]:
    """Yield the committed records of a partition from `start` until the consumer's *position* has reached `end`.

    Transaction markers take offsets, so that the last record is never at `end - 1`; the position passes them.

    Raises:
        StoppedError: `start` is no longer, or not yet, in the partition.
        UnreachableError: `end` is not in the partition any more.
    """
    if start >= end:
        return
    partition = TopicPartition(*where)
    consumer = reading_consumer(
        **options,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=FETCH_BYTES,
    )
    try:
        await consumer.start()
        consumer.assign([partition])
        consumer.seek(partition, start)  # an explicit offset: a reset in the background cannot win over it
        while (position := await consumer.position(partition)) < end:
            try:
                fetched = await consumer.getmany(partition, timeout_ms=READ_TIMEOUT_MS, max_records=READ_RECORDS)
            except OffsetOutOfRangeError as error:
                raise StoppedError(
                    f"{where[0]}-{where[1]} has no offset {position}: it was cut or made anew. Restore the topic, or, "
                    f"if it is another one on purpose, start with an empty data directory."
                ) from error
            if records := fetched.get(partition):
                yield [record for record in records if record.offset < end]
            elif (there := (await consumer.end_offsets([partition]))[partition]) < end:
                # Nothing will come: an unclean election took it since the end was asked for. Opening decides.
                raise UnreachableError(f"{where[0]}-{where[1]} ends at {there} and reached {end} a moment ago")
    finally:
        await stop_consumer(consumer)
