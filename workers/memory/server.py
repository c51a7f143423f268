"""The broker's side of Kafka's protocol in memory: each request as aiokafka's clients send it, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.workers.kafka.protocol.transactions_v2 import FEATURE, Ended, Features, OffsetsCommitted, Produced
from annals.workers.kafka.read.topic_ids import NO_ID, FoundTopic
from annals.workers.memory.coordinator import Identity
from annals.workers.memory.requests import commit_of, end_of, produce_of, topic_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.memory.cluster import MemoryCluster

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_FETCH, API_VERSIONS = 0, 1, 2, 3, 9, 18
INIT_PRODUCER_ID, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 22, 24, 25, 26, 28

VERSIONS: Final = {
    PRODUCE: (3, 12),
    FETCH: (4, 4),
    LIST_OFFSETS: (2, 2),
    METADATA: (12, 12),
    OFFSET_FETCH: (1, 3),
    API_VERSIONS: (0, 3),
    INIT_PRODUCER_ID: (0, 0),
    ADD_PARTITIONS: (0, 0),
    ADD_OFFSETS: (0, 0),
    END_TXN: (0, 5),
    TXN_OFFSET_COMMIT: (0, 5),
}
IMPLICIT_PRODUCE: Final = 12
IMPLICIT_COMMIT: Final = 5
RENEWING_END: Final = 5
COMMITTED: Final = 1  # the isolation level
NO_OFFSET: Final = -1
NOT_THROTTLED: Final = 0


class Server:
    """Answers requests from a cluster in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Take the cluster."""
        self.cluster = cluster
        self._answers: dict[int, Callable[[Any], Any]] = {
            PRODUCE: self._produce,
            FETCH: self._fetch,
            LIST_OFFSETS: self._list_offsets,
            METADATA: self._metadata,
            OFFSET_FETCH: self._offset_fetch,
            API_VERSIONS: self._features,
            INIT_PRODUCER_ID: self._init_producer_id,
            ADD_PARTITIONS: self._add_partitions,
            ADD_OFFSETS: self._add_offsets,
            END_TXN: self._end_txn,
            TXN_OFFSET_COMMIT: self._txn_offset_commit,
        }

    def answer(self, request: Any) -> Any:
        """Return the answer to a request that was prepared for `VERSIONS`.

        Raises:
            KeyError: the model knows no such request.
        """
        return self._answers[request.API_KEY](request)

    def _produce(self, request: Any) -> Any:
        if request.API_VERSION == IMPLICIT_PRODUCE:
            transactional_id, batches = produce_of(request.encode())
            answers: list[tuple[str, list[tuple[int, int, int]]]] = [
                (topic, [(partition, *self.cluster.produce(transactional_id, (topic, partition), batch, adds=True))])
                for topic, partition, batch in batches
            ]
            return Produced(answers, NOT_THROTTLED)
        produced = [
            (topic, [self._placed(request.transactional_id, topic, partition, batch) for partition, batch in batches])
            for topic, batches in request.topics
        ]
        return request.RESPONSE_TYPE(produced, 0)

    def _placed(self, transactional_id: str | None, topic: str, partition: int, batch: bytes) -> tuple[int, ...]:
        code, base = self.cluster.produce(transactional_id, (topic, partition), batch, adds=False)
        return partition, code, base, -1, 0  # its time, and where the log starts

    def _fetch(self, request: Any) -> Any:
        is_committed = request.isolation_level == COMMITTED
        topics = []
        for topic, partitions in request.topics:
            fetched = []
            for partition, offset, limit in partitions:
                found = self.cluster.fetch((topic, partition), offset, limit, is_committed=is_committed)
                fetched.append((partition, found.code, found.end, found.stable, list(found.aborted), found.data))
            topics.append((topic, fetched))
        return request.RESPONSE_TYPE(0, topics)

    def _list_offsets(self, request: Any) -> Any:
        is_committed = request.isolation_level == COMMITTED
        topics = []
        for topic, partitions in request.topics:
            listed = []
            for partition, timestamp in partitions:
                code, offset = self.cluster.list_offset((topic, partition), timestamp, is_committed=is_committed)
                listed.append((partition, code, -1, offset))
            topics.append((topic, listed))
        return request.RESPONSE_TYPE(0, topics)

    def _metadata(self, request: Any) -> FoundTopic:
        return FoundTopic(self.cluster.topic_ids.get(topic_of(request.encode()), NO_ID))

    def _offset_fetch(self, request: Any) -> Any:
        topics = []
        for topic, partitions in request.topics:
            found = [
                (each, self.cluster.committed_offset(request.consumer_group, (topic, each))) for each in partitions
            ]
            topics.append((topic, [(each, *(offset or (NO_OFFSET, "")), 0) for each, offset in found]))
        return request.RESPONSE_TYPE(0, topics, 0)

    def _features(self, request: Any) -> Features:
        del request
        return Features({FEATURE: self.cluster.transaction_version})

    def _init_producer_id(self, request: Any) -> Any:
        code, identity = self.cluster.init_producer_id(request.transactional_id, request.transaction_timeout_ms)
        return request.RESPONSE_TYPE(0, code, *identity)

    def _add_partitions(self, request: Any) -> Any:
        identity = Identity(request.producer_id, request.producer_epoch)
        codes = [
            (
                topic,
                [
                    (each, self.cluster.add_partition(request.transactional_id, identity, (topic, each)))
                    for each in partitions
                ],
            )
            for topic, partitions in request.topics
        ]
        return request.RESPONSE_TYPE(0, codes)

    def _add_offsets(self, request: Any) -> Any:
        identity = Identity(request.producer_id, request.producer_epoch)
        return request.RESPONSE_TYPE(0, self.cluster.add_group(request.transactional_id, identity, request.group_id))

    def _end_txn(self, request: Any) -> Any:
        if request.API_VERSION == RENEWING_END:
            transactional_id, producer_id, epoch, commits = end_of(request.encode())
            code, identity = self.cluster.end_transaction(
                transactional_id, Identity(producer_id, epoch), commits=commits, renews=True
            )
            return Ended(NOT_THROTTLED, code, *identity)
        identity = Identity(request.producer_id, request.producer_epoch)
        code, _ = self.cluster.end_transaction(
            request.transactional_id, identity, commits=request.transaction_result, renews=False
        )
        return request.RESPONSE_TYPE(0, code)

    def _txn_offset_commit(self, request: Any) -> Any:
        if request.API_VERSION == IMPLICIT_COMMIT:
            wanted = commit_of(request.encode())
            partition = wanted.topic, wanted.partition
            code = self.cluster.commit_offset(
                wanted.transactional_id,
                Identity(wanted.producer_id, wanted.epoch),
                wanted.group,
                partition,
                (wanted.offset, wanted.metadata),
                adds=True,
            )
            return OffsetsCommitted([(wanted.topic, [(wanted.partition, code)])], NOT_THROTTLED)
        identity = Identity(request.producer_id, request.producer_epoch)
        topics = []
        for topic, partitions in request.topics:
            codes = [
                (
                    each,
                    self.cluster.commit_offset(
                        request.transactional_id,
                        identity,
                        request.group_id,
                        (topic, each),
                        (offset, metadata),
                        adds=False,
                    ),
                )
                for each, offset, metadata in partitions
            ]
            topics.append((topic, codes))
        return request.RESPONSE_TYPE(0, topics)
