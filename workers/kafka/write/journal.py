"""One shard's topics on a real broker: the `ShardLog` port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.ports import StoppedError
from annals.agents.writing.recovery.losses import lost_record
from annals.topics.group_metadata import RecordAt, digest_of
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.write.batches import PartitionBatches, measured
from annals.workers.kafka.write.failures import reaching
from annals.workers.kafka.write.recovery import KafkaRecovery, ShardTopics
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.ports import Record, Writes
    from annals.topics.group_metadata import GroupMetadata


__all__ = ["KafkaShardLog", "KafkaWrites", "ShardTopics"]

NO_HEADERS: Final = encode_headers([])


class KafkaWrites:
    """The records of one transaction, batch by batch (the `Writes` port)."""

    def __init__(self, topics: ShardTopics, codec: str) -> None:
        """Take the shard's topics, and the codec of what it writes."""
        self._topics = topics
        self._codec = codec
        self._outcomes = PartitionBatches(topics.limits["outcomes"], codec)
        self._others: dict[TopicPartition, PartitionBatches] = {}
        self.events = PartitionBatches(topics.limits["events"], codec)
        self._last_outcome: bytes | None = None

    def add_events(self, records: Sequence[Record]) -> None:
        """Add events of as many commands: each is all that its command caused."""
        if needed := self.events.add_each(records):
            raise StoppedError(f"an event of {needed} bytes exceeds the limit of {self._topics.events.topic}")

    def add_together(self, records: Sequence[Record]) -> None:
        """Add all events of a command to one record batch."""
        if needed := self.events.add_all(records):
            raise StoppedError(f"a command's events of {needed} bytes exceed the limit of {self._topics.events.topic}")

    def add_snapshot(self, key: bytes, value: bytes, timestamp_ms: int) -> int:
        """Add a snapshot, and return 0; one that the topic would not take is left out: it is only a shortcut."""
        batches = self._other(self._topics.snapshots, "snapshots")
        record = key, value, timestamp_ms, NO_HEADERS
        return batches.oversize([record]) or batches.add(*record)

    def add_restore_part(self, key: str, value: bytes) -> None:
        """Add a part of a restore point. Its size is bounded by who makes it."""
        assert self._topics.restore is not None  # noqa: S101 - none is made without a topic
        if needed := self._other(self._topics.restore, "restore").add(key.encode(), value, NO_TIMESTAMP, NO_HEADERS):
            raise StoppedError(f"a restore point's part of {needed} bytes exceeds the limit of its topic")

    def add_outcomes(self, records: Sequence[Record]) -> None:
        """Add outcomes. Their size is bounded by the bounds of what they repeat."""
        if needed := self._outcomes.add_each(records):
            raise StoppedError(f"an outcome of {needed} bytes exceeds the limit of {self._topics.outcomes.topic}")
        if records:
            self._last_outcome = records[-1][1]

    @property
    def last_outcome(self) -> str:
        """The digest of the last outcome."""
        return digest_of(self._last_outcome)

    def add_dead_letter(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: bytes) -> None:
        """Add a dead letter: the offending bytes with the reason in headers."""
        if self._other(self._topics.dead, "dead-letters").add(key, value, timestamp_ms, headers):
            raise StoppedError(
                f"a dead letter of {len(value or b'')} bytes exceeds the limit of {self._topics.dead.topic}"
            )

    def add_forward(self, partition: int, key: bytes, value: bytes | None, timestamp_ms: int, headers: bytes) -> bool:
        """Add the copy of a misplaced command for another partition; False if it is too large for the topic."""
        if measured(key, value, timestamp_ms, headers) > self._topics.limits["commands"]:
            return False
        where = TopicPartition(self._topics.commands.topic, partition)
        return not self._other(where, "commands").add(key, value, timestamp_ms, headers)

    def _other(self, where: TopicPartition, role: str) -> PartitionBatches:
        if where not in self._others:
            # the topic of commands is uncompressed: the broker would unpack them again
            codec = "none" if role == "commands" else self._codec
            self._others[where] = PartitionBatches(self._topics.limits[role], codec)
        return self._others[where]

    def by_partition(self) -> dict[TopicPartition, list[Any]]:
        """Return the batches of each partition that has any."""
        all_of = {self._topics.events: self.events, self._topics.outcomes: self._outcomes, **self._others}
        return {where: batches.batches for where, batches in all_of.items() if batches.count}


class KafkaShardLog(KafkaRecovery):
    """Fence, look, read and write one shard's topics."""

    def __init__(
        self, options: Mapping[str, Any], topics: ShardTopics, transactional_id: str, group: str, codec: str
    ) -> None:
        """Take aiokafka client options, the shard's topics, its transactional id, group and codec."""
        super().__init__(options, topics, group)
        self._codec = codec
        self._writer = TransactionalWriter(options, transactional_id, topics.all())

    async def fence(self) -> None:
        """Become the only writer of the journal; see `TransactionalWriter.fence`."""
        with reaching("the transaction coordinator"):
            await self._writer.fence()

    async def _connected(self) -> AIOKafkaClient:
        return await self._writer.connected()

    def writes(self) -> KafkaWrites:
        """Return an empty transaction's records."""
        return KafkaWrites(self._topics, self._codec)

    def throttled_s(self) -> float:
        """Return for how many seconds the brokers ask for nothing more to be sent."""
        return self._writer.throttled_s

    async def commit(self, writes: Writes, next_offset: int, expected_base: int, known: GroupMetadata) -> GroupMetadata:
        """Write it all, with the offset, in one transaction; return what is known then, the outcomes included.

        next_offset: the first command offset that is not decided; expected_base: where the journal ends now; known:
        what is known of it once this is committed.

        Raises:
            FencedError, UncertainError, LostEndError: see `TransactionalWriter.commit`.
        """
        assert isinstance(writes, KafkaWrites)  # noqa: S101 - the port's own type
        topic, partition = self._topics.commands
        batches = writes.by_partition()
        committed = known

        def metadata(produced: Mapping[TopicPartition, Sequence[int]]) -> str:
            nonlocal committed
            if outcomes := batches.get(self._topics.outcomes, ()):
                first, *_, last = *produced[self._topics.outcomes], produced[self._topics.outcomes][-1]
                if known.outcome is not None and first <= known.outcome.offset:
                    raise lost_record(
                        "the outcomes, {}, partition {}".format(*self._topics.outcomes), known.outcome, first
                    )
                committed = known._replace(outcome=RecordAt(last + outcomes[-1].count - 1, writes.last_outcome))
            return committed.encode()

        offsets = Offsets(self._group, topic, partition, next_offset, metadata)
        await self._writer.commit(batches, offsets, {self._topics.events: expected_base})
        return committed

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()
