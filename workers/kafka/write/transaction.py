"""One shard's transactional writer: the requests of KIP-98, each sent once and each answer looked at.

aiokafka's own producer resends EndTxn by itself, answers OK to a commit although the broker refused a record of that
transaction, and takes a duplicate sequence number for success. A journal cannot live with any of the three, so this
writer uses aiokafka's connections, protocol structures and record builder, and does the sequence itself:

    AddPartitionsToTxn, AddOffsetsToTxn -> Produce -> TxnOffsetCommit -> EndTxn (once)

Where the cluster has transactions of version 2 (docs/adr/0017-transactions-of-version-2.md) the first two are spared
where one broker leads all that is written, and each transaction has an epoch of its own.

Whatever goes wrong after the first request leaves the outcome of the transaction open: `UncertainError`. The only way
on is `fence` (InitProducerId): the coordinator then ends what was open and refuses this writer's stragglers by their
epoch, and the journal itself says what became of the transaction.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    OperationNotAttempted,
    ProducerFenced,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.structs import TopicPartition

from annals.agents.ports import FencedError, OutlastedError, UncertainError
from annals.workers.clock import loop_time
from annals.workers.kafka.protocol.transactions_v2 import (
    FEATURE,
    IMPLICIT_FROM,
    ImplicitProduceRequest,
    ImplicitTxnOffsetCommitRequest,
    RenewingEndTxnRequest,
    finalized_level,
)
from annals.workers.kafka.write.batches import require_expected, require_whole
from annals.workers.kafka.write.brokers import COORDINATOR_BACKOFF_S, MOVED, Brokers, error_of
from annals.workers.kafka.write.failures import uncertain
from annals.workers.kafka.write.transactional_ids import producer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.write.batches import RecordBatch

    Batches = Mapping[TopicPartition, Sequence[RecordBatch]]

TRANSACTION_TIMEOUT_MS: Final = 10_000  # a dead worker's transaction holds readers up for no longer than this
CONCURRENT_BACKOFF_S: Final = 0.001  # the markers of the transaction before are a broker's own append away
ALL_REPLICAS: Final = -1
OFFSET_ATTEMPTS: Final = 10  # 1 ms, doubled each time: a second in all
BUSY_PATIENCE_S: Final = 10.0  # markers that take longer than a dead worker's transaction may are written by nobody
MARKERS_S: Final = 0.003  # by then they are nearly always written; asking whether they are is one request more
SEQUENCES: Final = 1 << 31  # sequence numbers are 31 bits and wrap to 0 (KIP-98)

_AGAIN = frozenset({*MOVED, ConcurrentTransactions, CoordinatorLoadInProgressError})
_FENCED = (InvalidProducerEpoch, ProducerFenced)


class Offsets(NamedTuple):
    """What a transaction commits of the consumer group: the next offset of one partition, with metadata."""

    group: str
    topic: str
    partition: int
    offset: int
    metadata: str | Callable[[Mapping[TopicPartition, Sequence[int]]], str]
    """Its words, or what makes them of where the batches were put; what that raises ends the transaction."""


class TransactionalWriter:
    """Writes one shard's transactions under one transactional id. Not safe for concurrent use, and never needed so."""

    def __init__(self, options: Mapping[str, Any], transactional_id: str, topics: Sequence[str]) -> None:
        """Take aiokafka client options, the transactional id, and the topics whose leaders are needed."""
        self._options = options
        self._id = transactional_id
        self._brokers = Brokers(options, topics)
        self._producer_id = -1
        self._epoch = -1
        self._sequences: dict[TopicPartition, int] = {}
        self._is_implicit = False
        self._ended_at = 0.0
        self._ends_at = 0.0

    @property
    def throttled_s(self) -> float:
        """For how many seconds the brokers ask for nothing more to be sent."""
        return self._brokers.throttle.left_s

    @property
    def is_implicit(self) -> bool:
        """Whether the cluster has transactions of version 2, as it said at the last fence."""
        return self._is_implicit

    @property
    def is_fenced_in(self) -> bool:
        """Whether this writer holds a producer id, so that it may write."""
        return self._producer_id >= 0

    async def connected(self) -> AIOKafkaClient:
        """Return the writer's client, which knows the leaders of its topics; connected when first asked for.

        Raises:
            KafkaConnectionError: no broker answered.
        """
        return await self._brokers.client()

    async def fence(self) -> None:
        """Become the only writer of this transactional id: ends the previous owner's transaction and refuses it.

        Raises:
            KafkaError: the broker cannot be reached or refuses (authorisation); nothing was written.
        """
        self._producer_id = -1
        self._sequences.clear()
        client = await self.connected()
        end = loop_time() + BUSY_PATIENCE_S
        while True:
            request = InitProducerIdRequest(transactional_id=self._id, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS)
            answer = await self._brokers.ask_coordinator(CoordinationType.TRANSACTION, self._id, request)
            error = error_of(answer.error_code)
            if error is None:
                node = await self._brokers.coordinator(CoordinationType.TRANSACTION, self._id)
                level = await finalized_level(client, node, FEATURE, group=ConnectionGroup.COORDINATION)
                self._is_implicit, self._ended_at = level >= IMPLICIT_FROM, 0.0
                self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch
                return
            if error not in _AGAIN or loop_time() > end:  # without an end nobody would learn of it
                raise error(f"{self._id}: the broker does not give out a producer id")
            if error in MOVED:
                self._brokers.forget_coordinators()
            await asyncio.sleep(COORDINATOR_BACKOFF_S)

    async def commit(self, batches: Batches, offsets: Offsets, expected: Mapping[TopicPartition, int]) -> None:
        """Write all batches and the offset in one transaction.

        expected: where a partition of which this is the only writer ends now. A batch that the broker puts elsewhere
        means a second writer or a stray marker, and one below it that the partition lost its end: the transaction is
        not committed.

        Raises:
            FencedError: another writer has this transactional id; nothing of this transaction will ever be visible.
            UncertainError: what became of the transaction is not known; `fence`, then read the journal.
            OutlastedError: the same, and it took longer than the broker lets a transaction last, or would have.
            LostEndError: what was acknowledged before is gone; a fence, whose marker takes an offset, would hide it.
        """
        if not self.is_fenced_in:
            raise UncertainError(f"{self._id}: no producer id")
        producer, self._producer_id = self._producer_id, -1  # given back only by a commit that is known
        self._ends_at = loop_time() + TRANSACTION_TIMEOUT_MS / 1000
        try:
            # Before the transaction: behind a throttled Produce the connection is not read, and a look-up would wait.
            await self._brokers.coordinator(CoordinationType.GROUP, offsets.group)
            renewed = await self._transact(producer, batches, offsets, expected)
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            late = loop_time() >= self._ends_at
            if await self._is_fence(error, producer):
                raise FencedError(f"{self._id}: another worker writes this journal now", outlasted=late) from error
            if late:
                raise OutlastedError(f"{uncertain(self._id, error)}, after {TRANSACTION_TIMEOUT_MS} ms") from error
            # aiokafka raises AssertionError where its client lost its state: as unknown as after a timeout
            raise uncertain(self._id, error) from error
        if renewed != (producer, self._epoch):
            self._sequences.clear()  # they begin anew with each epoch
        self._producer_id, self._epoch = renewed

    async def _is_fence(self, error: Exception, producer: int) -> bool:
        """Whether it says that another writer has the transactional id."""
        if not isinstance(error, InvalidProducerIdMapping):
            return isinstance(error, _FENCED)
        # The id has another producer, since its owner's epochs ran out; or the brokers forgot it, since it was idle for
        # longer than their `transactional.id.expiration.ms`: then nobody else writes.
        try:
            return await producer_of(self._brokers, self._id) not in {None, producer}
        except (KafkaError, OSError, TimeoutError, AssertionError):
            return False  # not known either, and what is not known leads to a new fence

    async def close(self) -> None:
        """Close the connections. What was open is ended by the next owner's fence or by the broker's timeout."""
        self._producer_id = -1
        await self._brokers.close()

    async def _transact(
        self, producer: int, batches: Batches, offsets: Offsets, expected: Mapping[TopicPartition, int]
    ) -> tuple[int, int]:
        """Return the producer id and the epoch of the next transaction."""
        if not self._is_implicit:
            # Both go to one connection, which the broker serves in order: the second needs no round trip of its own.
            adding = [self._add_offsets(producer, offsets.group)]
            if batches:
                adding.insert(0, self._add_partitions(producer, batches))
            await _all(*adding)
        elif not batches:
            await self._add_offsets(producer, offsets.group)  # the group's coordinator would not wait for markers
        elif await self._would_wait(batches):
            await self._add_partitions(producer, batches)
        produced = await self._produce(producer, batches, expected)
        require_expected(batches, produced, expected)
        require_whole(batches, produced)
        # After the records: were the transaction ended between the two by a stray EndTxn, records without their offset
        # are found again (duplicates, the newest outcome), an offset without its records loses the commands. And not
        # at the same time: a broker that verifies a transaction for two requests at once refuses the first of them
        # (AddPartitionsToTxnManager, KIP-890: NETWORK_EXCEPTION, told to the client as NOT_ENOUGH_REPLICAS).
        await self._commit_offsets(producer, offsets, produced)
        return await self._end(producer)

    async def _would_wait(self, batches: Batches) -> bool:
        """Whether brokers would hold implicit adding up.

        For a Produce they ask the coordinator again after 20 ms (`add.partitions.to.txn.retry.backoff.ms`) where it is
        busy with this id: with the markers of the transaction before, or with what another broker adds to this one.
        """
        if loop_time() - self._ended_at < MARKERS_S:
            return True
        leaders = {await self._brokers.leader(where) for where in batches}
        return len(leaders) > 1

    async def _add_partitions(self, producer: int, wheres: Collection[TopicPartition]) -> None:
        topics: dict[str, list[int]] = {}
        for topic, partition in wheres:
            topics.setdefault(topic, []).append(partition)
        request = AddPartitionsToTxnRequest(self._id, producer, self._epoch, list(topics.items()))

        def codes(answer: Any) -> dict[str, int]:
            every = [(topic, *each) for topic, partitions in answer.errors for each in partitions]
            return {f"{topic}-{partition}": code for topic, partition, code in every}

        await self._retried(request, codes)

    async def _add_offsets(self, producer: int, group: str) -> None:
        request = AddOffsetsToTxnRequest(self._id, producer, self._epoch, group)
        await self._retried(request, lambda answer: {group: answer.error_code})

    async def _retried(self, request: Any, codes: Callable[[Any], dict[str, int]]) -> None:
        """Send a request that may be sent again: adding twice to a transaction is adding once.

        codes: returns the error codes of an answer, by what is added.
        """
        end = loop_time() + BUSY_PATIENCE_S
        while True:
            answer = await self._brokers.ask_coordinator(CoordinationType.TRANSACTION, self._id, request)
            refused = [(error, what) for what, code in codes(answer).items() if (error := error_of(code)) is not None]
            if not refused:
                return
            # What is refused has the others not attempted, and a coordinator that is busy is asked again for all.
            for error, what in refused:
                if error not in {ConcurrentTransactions, OperationNotAttempted}:
                    raise error(f"{what} is not taken into the transaction")
            if loop_time() >= end:
                error, what = refused[0]
                raise error(f"{what} is not taken into the transaction")
            await asyncio.sleep(CONCURRENT_BACKOFF_S)

    async def _produce(
        self, producer: int, batches: Batches, journal: Collection[TopicPartition]
    ) -> dict[TopicPartition, list[int]]:
        """Send all batches; what speaks of the journal's records only with the last of those, for the same reason."""
        bases: dict[TopicPartition, list[int]] = {where: [] for where in batches}
        behind = max((len(batches[where]) - 1 for where in journal if where in batches), default=0)
        starts = {where: 0 if where in journal else behind for where in batches}
        rounds = max((starts[where] + len(of) for where, of in batches.items()), default=0)
        for turn in range(rounds):  # a produce request takes one batch per partition
            by_leader: dict[int, dict[str, list[tuple[int, bytes]]]] = {}
            for where, of in batches.items():
                at = turn - starts[where]
                if 0 <= at < len(of):
                    batch, sequence = of[at], self._sequences.get(where, 0)
                    self._sequences[where] = (sequence + batch.count) % SEQUENCES
                    topics = by_leader.setdefault(await self._brokers.leader(where), {})
                    topics.setdefault(where.topic, []).append(
                        (where.partition, batch.build(producer, self._epoch, sequence))
                    )
            for base in await _all(*(self._produce_to(producer, node, topics) for node, topics in by_leader.items())):
                for where, offset in base.items():
                    bases[where].append(offset)
        return bases

    async def _produce_to(
        self, producer: int, node: int, topics: Mapping[str, list[tuple[int, bytes]]]
    ) -> dict[TopicPartition, int]:
        bases: dict[TopicPartition, int] = {}
        end = loop_time() + BUSY_PATIENCE_S
        while loop_time() < end:
            offsets = await self._ask_to_produce(node, topics)
            bases |= {where: offset for where, offset in offsets.items() if offset is not None}
            left = [where for where, offset in offsets.items() if offset is None]
            if not left:
                return bases
            await self._add_partitions(producer, left)
            topics = {
                topic: again
                for topic, batches in topics.items()
                if (again := [each for each in batches if TopicPartition(topic, each[0]) in left])
            }
        raise ConcurrentTransactions(f"the coordinator was busy for {BUSY_PATIENCE_S:.0f} s")

    async def _ask_to_produce(
        self, node: int, topics: Mapping[str, list[tuple[int, bytes]]]
    ) -> dict[TopicPartition, int | None]:
        """Return where each batch was put; None: nowhere, since the coordinator is busy with this id."""
        client = await self.connected()
        if self.throttled_s > self._ends_at - loop_time():
            raise OutlastedError(f"{self._id}: a quota has the brokers wait for {self.throttled_s:.0f} s in the middle")
        timeout = int(self._options.get("request_timeout_ms", 40_000))
        request: Any
        if self._is_implicit:
            request = ImplicitProduceRequest(self._id, ALL_REPLICAS, timeout, topics)
        else:
            request = ProduceRequest(self._id, ALL_REPLICAS, timeout, list(topics.items()))
        answer = await client.send(node, request)
        self._brokers.throttle.note(answer)
        offsets: dict[TopicPartition, int | None] = {}
        for topic, partitions, *_ in answer.topics:
            for partition, code, offset, *_more in partitions:
                error = error_of(code)
                if error is ConcurrentTransactions and self._is_implicit:
                    offsets[TopicPartition(topic, partition)] = None
                    continue
                if error is not None:
                    raise error(f"{topic}-{partition} refused a batch, error code {code}")
                if offset < 0:
                    raise UncertainError(f"{topic}-{partition}: the broker did not say where it put a batch")
                offsets[TopicPartition(topic, partition)] = offset
        if len(offsets) != sum(map(len, topics.values())):
            raise UncertainError(f"{self._id}: the broker answered for {len(offsets)} partitions only")
        return offsets

    async def _commit_offsets(
        self, producer: int, offsets: Offsets, produced: Mapping[TopicPartition, Sequence[int]]
    ) -> None:
        group, topic, partition, offset, words = offsets
        metadata = words if isinstance(words, str) else words(produced)
        request: Any
        if self._is_implicit:
            where = TopicPartition(topic, partition)
            request = ImplicitTxnOffsetCommitRequest(self._id, group, producer, self._epoch, where, offset, metadata)
        else:
            entries = [(topic, [(partition, offset, metadata)])]
            request = TxnOffsetCommitRequest(self._id, group, producer, self._epoch, entries)
        for attempt in count():
            answer = await self._brokers.ask_coordinator(CoordinationType.GROUP, group, request)
            codes = [code for _, partitions, *_ in answer.errors for _, code, *_ in partitions]
            errors = {error for code in codes if (error := error_of(code))}
            if not errors:
                return
            if not errors <= _AGAIN or attempt >= OFFSET_ATTEMPTS:
                raise errors.pop()(f"{group} refused the offset of {topic}-{partition}")
            if not errors.isdisjoint(MOVED):
                self._brokers.forget_coordinators()
            await asyncio.sleep(CONCURRENT_BACKOFF_S * 2**attempt)

    async def _end(self, producer: int) -> tuple[int, int]:
        """Send EndTxn, once: before version 2 a second one could end another transaction than the one that is meant.

        Return the producer id and the epoch of the next transaction, which are new ones in version 2. There
        InvalidTxnState may mean that another writer has just begun to fence this one, or that the coordinator ended
        the transaction after its timeout: so it stays uncertain.
        """
        request: Any
        if self._is_implicit:
            request = RenewingEndTxnRequest(self._id, producer, self._epoch)
        else:
            request = EndTxnRequest(self._id, producer, self._epoch, transaction_result=True)
        answer = await self._brokers.ask_coordinator(CoordinationType.TRANSACTION, self._id, request)
        error = error_of(answer.error_code)
        if error is not None:
            raise error("the commit was refused")
        self._ended_at = loop_time()
        return (answer.producer_id, answer.producer_epoch) if self._is_implicit else (producer, self._epoch)


async def _all(*awaitables: Awaitable[Any]) -> list[Any]:
    """Await all to their end, then raise the first failure: none is left running behind a failed transaction."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        raise next((each for each in failures if isinstance(each, _FENCED)), failures[0])
    return results
