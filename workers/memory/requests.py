"""Requests that are encoded by this project, decoded: of transactions of version 2, and for the id of a topic."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from annals.topics.wire import unsigned_at
from annals.workers.kafka.protocol.wire_requests import behind_tags, compact_at

_ACKS: Final = Struct(">hi")
_NUMBER: Final = Struct(">i")
_PRODUCER: Final = Struct(">qh")
_OFFSET: Final = Struct(">iqi")
_END: Final = Struct(">qh?")
_TOPIC_ID_BYTES: Final = 16


class Produce(NamedTuple):
    """Produce 12: the batches by topic and partition."""

    transactional_id: str
    batches: list[tuple[str, int, bytes]]


class CommitOffset(NamedTuple):
    """TxnOffsetCommit 5, for one partition."""

    transactional_id: str
    group: str
    producer_id: int
    epoch: int
    topic: str
    partition: int
    offset: int
    metadata: str


class End(NamedTuple):
    """EndTxn 5."""

    transactional_id: str
    producer_id: int
    epoch: int
    commits: bool


def produce_of(data: bytes) -> Produce:
    """Decode Produce 12."""
    view = memoryview(data)
    transactional_id, at = compact_at(view, 0)
    topics, at = unsigned_at(view, at + _ACKS.size)
    batches: list[tuple[str, int, bytes]] = []
    for _ in range(topics - 1):
        topic, at = compact_at(view, at)
        partitions, at = unsigned_at(view, at)
        for _ in range(partitions - 1):
            (partition,) = _NUMBER.unpack_from(view, at)
            batch, at = compact_at(view, at + _NUMBER.size)
            at = behind_tags(view, at)
            batches.append((topic.decode(), partition, batch))
        at = behind_tags(view, at)
    return Produce(transactional_id.decode(), batches)


def commit_of(data: bytes) -> CommitOffset:
    """Decode TxnOffsetCommit 5."""
    view = memoryview(data)
    transactional_id, at = compact_at(view, 0)
    group, at = compact_at(view, at)
    producer_id, epoch = _PRODUCER.unpack_from(view, at)
    at += _PRODUCER.size + _NUMBER.size  # behind the generation
    for _ in range(2):  # the member and its instance
        _, at = compact_at(view, at)
    _, at = unsigned_at(view, at)
    topic, at = compact_at(view, at)
    _, at = unsigned_at(view, at)
    partition, offset, _ = _OFFSET.unpack_from(view, at)
    metadata, _ = compact_at(view, at + _OFFSET.size)
    return CommitOffset(
        transactional_id.decode(),
        group.decode(),
        producer_id,
        epoch,
        topic.decode(),
        partition,
        offset,
        metadata.decode(),
    )


def topic_of(data: bytes) -> str:
    """Decode Metadata 12: the one topic that is asked about, by its name."""
    view = memoryview(data)
    _, at = unsigned_at(view, 0)
    name, _ = compact_at(view, at + _TOPIC_ID_BYTES)
    return name.decode()


def end_of(data: bytes) -> End:
    """Decode EndTxn 5."""
    view = memoryview(data)
    transactional_id, at = compact_at(view, 0)
    return End(transactional_id.decode(), *_END.unpack_from(view, at))
