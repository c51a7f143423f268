"""A cluster in memory: topics, transactions and groups, and what brokers would say of a request.

Held to Kafka by tests/conformance/test_log_scripts.py: random scripts give the same codes, offsets and visibility here
and on a broker, with transactions of version 1 and 2.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.workers.kafka.write.batches import HEADER, TRANSACTIONAL, RecordBatch, checksummed
from annals.workers.memory.codes import Code
from annals.workers.memory.coordinator import Coordinator, Identity
from annals.workers.memory.offsets import GroupOffsets
from annals.workers.memory.partition import PartitionLog, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.workers.memory.coordinator import Partition, Settle
    from annals.workers.memory.offsets import Committed

GROUPS: Final = "__consumer_offsets"
EARLIEST: Final = -2  # ListOffsets' timestamp for the first offset
NO_HEADERS: Final = b"\0"
MOST_BYTES: Final = 1 << 30
ATTRIBUTES: Final = 5  # of a batch's header, the field's place


class Topic(NamedTuple):
    """A topic: its partitions, and which batches it takes."""

    partitions: int
    rules: Rules = Rules()


class Fetched(NamedTuple):
    """What is in a partition from an offset on; aborted: a producer and the first offset of each such transaction."""

    code: Code
    end: int = -1
    stable: int = -1
    aborted: tuple[tuple[int, int], ...] = ()
    data: bytes = b""


def at_once(step: Callable[[], None]) -> None:
    """Write a marker as soon as its transaction ends."""
    step()


def unnoticed(partition: Partition, producer_id: int) -> None:
    """Let a batch come in."""
    del partition, producer_id


def unended(partition: Partition, producer_id: int, is_committed: bool) -> None:  # noqa: FBT001 - a callback
    """Let a transaction end."""
    del partition, producer_id, is_committed


class MemoryCluster:
    """The brokers of one cluster, as one."""

    def __init__(
        self,
        topics: Mapping[str, Topic],
        *,
        transaction_version: int = 2,
        now: Callable[[], float] = time.monotonic,
        settle: Settle = at_once,
    ) -> None:
        """Take the topics, the version of transactions, the time in seconds, and when a marker may be written."""
        self.topics: dict[str, Topic] = {}
        self.topic_ids: dict[str, bytes] = {}
        self.transaction_version = transaction_version
        self.logs: dict[Partition, PartitionLog] = {}
        self._made = 0
        for name, topic in topics.items():
            self.make_topic(name, topic)
        self.groups: defaultdict[str, GroupOffsets] = defaultdict(GroupOffsets)
        self.refuses: Callable[[], bool] = lambda: False
        """Asked for each batch of a transaction: whether the leader has too few replicas for it at this moment."""
        self.arrives: Callable[[Partition, int], None] = unnoticed
        """Told of each batch of a transaction before it is taken: its partition, and whose it is."""
        self.ends: Callable[[Partition, int, bool], None] = unended
        """Told of each transaction that ends in a partition: whose it is, and whether it is committed."""
        self._now = now
        self._coordinator = Coordinator(self._mark, settle, now)

    def make_topic(self, name: str, topic: Topic) -> None:
        """CreateTopics, for one of them: empty, under an id that no other topic has had."""
        self._made += 1
        self.topics[name], self.topic_ids[name] = topic, self._made.to_bytes(16)
        self.logs |= {(name, partition): PartitionLog(topic.rules) for partition in range(topic.partitions)}

    def delete_topic(self, name: str) -> None:
        """DeleteTopics, for one of them."""
        del self.topic_ids[name]
        for partition in range(self.topics.pop(name).partitions):
            del self.logs[name, partition]

    def init_producer_id(self, transactional_id: str, timeout_ms: int) -> tuple[Code, Identity]:
        """InitProducerId: become the only writer of a transactional id."""
        return self._coordinator.init(transactional_id, timeout_ms / 1000)

    def add_partition(self, transactional_id: str, identity: Identity, partition: Partition) -> Code:
        """AddPartitionsToTxn, for one of them."""
        if partition not in self.logs:
            return Code.UNKNOWN_TOPIC_OR_PARTITION
        return _for_old_client(self._coordinator.add(transactional_id, identity, partition))

    def add_group(self, transactional_id: str, identity: Identity, group: str) -> Code:
        """AddOffsetsToTxn."""
        return _for_old_client(self._coordinator.add(transactional_id, identity, _of_group(group)))

    def produce(
        self, transactional_id: str | None, partition: Partition, data: bytes, *, adds: bool
    ) -> tuple[Code, int]:
        """Produce, for one batch: its base offset. adds: it makes the partition part of the transaction (version 2)."""
        log = self.logs.get(partition)
        if log is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION, -1
        *_, attributes, _, _, _, producer_id, epoch, _, _ = HEADER.unpack_from(data)
        identity = Identity(producer_id, epoch)
        if attributes & TRANSACTIONAL:
            self.arrives(partition, producer_id)
        if attributes & TRANSACTIONAL and not log.producers.has_open(*identity):
            ask = self._coordinator.add if adds else self._coordinator.verify
            code = _for_old_client(ask(transactional_id or "", identity, partition))
            if code is Code.CONCURRENT_TRANSACTIONS and not adds:
                code = Code.NOT_ENOUGH_REPLICAS
            if code:
                return code, -1
        if attributes & TRANSACTIONAL and self.refuses():
            return Code.NOT_ENOUGH_REPLICAS, -1
        return log.append(data, int(self._now() * 1000), begins_at_0=adds)

    def append(self, partition: Partition, key: bytes | None, value: bytes | None, headers: bytes = NO_HEADERS) -> int:
        """Append a record that is part of no transaction, as any producer may; return its offset.

        headers: as `annals.topics.wire` encodes them.

        Raises:
            ValueError: the partition does not take it.
        """
        batch = RecordBatch()
        batch.fill([(key, value, int(self._now() * 1000), headers)], 0, MOST_BYTES)
        data = batch.build(-1, -1, -1)
        fields = list(HEADER.unpack_from(data))
        fields[ATTRIBUTES] &= ~TRANSACTIONAL
        code, offset = self.produce(None, partition, checksummed(HEADER.pack(*fields), data[HEADER.size :]), adds=False)
        if code:
            raise ValueError(f"{partition[0]}-{partition[1]} does not take the record: {code.name}")
        return offset

    def commit_offset(
        self,
        transactional_id: str,
        identity: Identity,
        group: str,
        partition: Partition,
        offset: Committed,
        *,
        adds: bool,
    ) -> Code:
        """TxnOffsetCommit, for one partition."""
        offsets = self.groups[group]
        if not offsets.producers.has_open(*identity):
            ask = self._coordinator.add if adds else self._coordinator.verify
            code = _for_old_client(ask(transactional_id, identity, _of_group(group)))
            if code:
                return code
        offsets.commit_in(*identity, partition, offset)
        return Code.NONE

    def end_transaction(
        self, transactional_id: str, identity: Identity, *, commits: bool, renews: bool
    ) -> tuple[Code, Identity]:
        """EndTxn; renews: in version 2 it returns who may write the next transaction."""
        code, following = self._coordinator.end(transactional_id, identity, commits=commits, renews=renews)
        return (code if renews else _for_old_client(code)), following

    def abort_timed_out(self) -> None:
        """Abort the transactions that have been under way for longer than their producers allowed."""
        self._coordinator.abort_timed_out()

    def list_offset(self, partition: Partition, timestamp: int, *, is_committed: bool) -> tuple[Code, int]:
        """ListOffsets, for the first or the last offset of a partition, or the first of a time: -1 where none is."""
        log = self.logs.get(partition)
        if log is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION, -1
        if timestamp == EARLIEST:
            return Code.NONE, log.start
        end = log.stable if is_committed else log.end
        return Code.NONE, end if timestamp < 0 else log.first_since(timestamp, end)

    def fetch(self, partition: Partition, offset: int, limit: int, *, is_committed: bool) -> Fetched:
        """Fetch, for one partition: batches as they are, what is aborted among them too."""
        log = self.logs.get(partition)
        if log is None:
            return Fetched(Code.UNKNOWN_TOPIC_OR_PARTITION)
        if not log.start <= offset <= log.end:
            return Fetched(Code.OFFSET_OUT_OF_RANGE)
        end = log.stable if is_committed else log.end
        aborted = tuple(
            (producer, first) for producer, first, marker in log.aborted if marker >= offset and first < end
        )
        return Fetched(Code.NONE, log.end, log.stable, aborted if is_committed else (), log.data(offset, limit, end))

    def committed_offset(self, group: str, partition: Partition) -> Committed | None:
        """OffsetFetch, for one partition."""
        return self.groups[group].committed.get(partition)

    def delete_records(self, partition: Partition, before: int) -> Code:
        """DeleteRecords, for one partition."""
        return self.logs[partition].delete_before(before)

    def _mark(self, partition: Partition, producer_id: int, epoch: int, commits: bool) -> None:  # noqa: FBT001 - the coordinator's callback
        topic, _ = partition
        if topic.startswith(GROUPS):
            self.groups[topic.removeprefix(GROUPS)].mark(producer_id, epoch, commits=commits)
        else:
            self.logs[partition].mark(producer_id, epoch, commits=commits)
            self.ends(partition, producer_id, commits)


def _of_group(group: str) -> Partition:
    """Return what stands for a group among the partitions of a transaction."""
    return f"{GROUPS}{group}", 0


def _for_old_client(code: Code) -> Code:
    """Return what a client is told whose version of a request knows no PRODUCER_FENCED."""
    return Code.INVALID_PRODUCER_EPOCH if code is Code.PRODUCER_FENCED else code
