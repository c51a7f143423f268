"""Requests of a transaction that add what they touch to it by themselves: transactions of version 2 (KIP-890).

aiokafka stops short of these versions. In them Produce and TxnOffsetCommit need no AddPartitionsToTxn and
AddOffsetsToTxn before them, and each EndTxn gives the producer another epoch: one that comes late, or twice, names a
transaction that is over, and ends nothing.

Source: kafka.apache.org/protocol: Produce 12, TxnOffsetCommit 5, EndTxn 5; ApiVersions 3 for the cluster's features.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, TaggedFields

from annals.topics.wire import unsigned_at, unsigned_varint
from annals.workers.kafka.protocol.wire_requests import (
    NO_TAGS,
    AnswerHeader,
    EncodedRequest,
    behind_tags,
    compact,
    compact_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

FEATURE: Final = "transaction.version"
IMPLICIT_FROM: Final = 2
"""The level of Kafka's feature `transaction.version` from which on brokers take these requests."""

_ACKS: Final = Struct(">hi")  # how many must have it, milliseconds
_NUMBER: Final = Struct(">i")
_PRODUCED: Final = Struct(">ihq16x")  # partition, error, base offset; time and start of the log are not looked at
_PRODUCER: Final = Struct(">qh")  # id, epoch
_GENERATION: Final = Struct(">i")
_OFFSET: Final = Struct(">iqi")  # partition, offset, leader's epoch
_COMMITTED: Final = Struct(">ih")  # partition, error
_END: Final = Struct(">qh?")  # id, epoch, whether to commit
_ENDED: Final = Struct(">ihqh")  # throttled, error, id, epoch
_ONE: Final = unsigned_varint(2)  # a compact array of one
_NO_GENERATION: Final = -1
_NO_EPOCH: Final = -1


def _topics_at(
    view: memoryview, at: int, partition: Struct, behind: Callable[[memoryview, int], int]
) -> tuple[list[tuple[str, list[Any]]], int]:
    """Return what is said of each partition of each topic, and where what follows begins.

    behind: where what follows a partition begins.
    """
    count, at = unsigned_at(view, at)
    topics = []
    for _ in range(count - 1):
        name, at = compact_at(view, at)
        number, at = unsigned_at(view, at)
        partitions = []
        for _ in range(number - 1):
            partitions.append(partition.unpack_from(view, at))
            at = behind(view, at + partition.size)
        at = behind_tags(view, at)
        topics.append((name.decode(), partitions))
    return topics, at


class Produced(NamedTuple):
    """What became of the batches: per topic of each partition its number, the error's code and the base offset."""

    topics: list[tuple[str, list[tuple[int, int, int]]]]
    throttle_time_ms: int

    @classmethod
    def decode(cls, data: BytesIO) -> Produced:
        """Decode an answer, its header left out."""
        with memoryview(data.read()) as view:
            topics, at = _topics_at(view, 0, _PRODUCED, _behind_errors)
            return cls(topics, *_NUMBER.unpack_from(view, at))


def _behind_errors(view: memoryview, at: int) -> int:
    """Return where what follows the errors of single records, the message and the tags begins."""
    count, at = unsigned_at(view, at)
    for _ in range(count - 1):
        _, at = compact_at(view, at + _NUMBER.size)
        at = behind_tags(view, at)
    _, at = compact_at(view, at)
    return behind_tags(view, at)


class ImplicitProduceRequest(EncodedRequest):
    """Produce, which begins the transaction and adds the partitions."""

    API_KEY = 0
    API_VERSION = 12
    IS_FLEXIBLE = True
    RESPONSE_TYPE = Produced
    __slots__ = ()

    def __init__(
        self, transactional_id: str, acks: int, timeout_ms: int, topics: Mapping[str, Sequence[tuple[int, bytes]]]
    ) -> None:
        """Take the batches of each topic, one for a partition."""
        parts = [compact(transactional_id.encode()), _ACKS.pack(acks, timeout_ms), unsigned_varint(len(topics) + 1)]
        for topic, batches in topics.items():
            parts += (compact(topic.encode()), unsigned_varint(len(batches) + 1))
            for partition, batch in batches:
                parts += (_NUMBER.pack(partition), unsigned_varint(len(batch) + 1), batch, NO_TAGS)
            parts.append(NO_TAGS)
        parts.append(NO_TAGS)
        super().__init__(b"".join(parts))


class OffsetsCommitted(NamedTuple):
    """What became of the offsets: per topic of each partition its number and the error's code."""

    errors: list[tuple[str, list[tuple[int, int]]]]
    throttle_time_ms: int

    @classmethod
    def decode(cls, data: BytesIO) -> OffsetsCommitted:
        """Decode an answer, its header left out."""
        with memoryview(data.read()) as view:
            topics, _ = _topics_at(view, _NUMBER.size, _COMMITTED, behind_tags)
            return cls(topics, *_NUMBER.unpack_from(view))


class ImplicitTxnOffsetCommitRequest(EncodedRequest):
    """TxnOffsetCommit for one partition, which adds the group to the transaction."""

    API_KEY = 28
    API_VERSION = 5
    IS_FLEXIBLE = True
    RESPONSE_TYPE = OffsetsCommitted
    __slots__ = ()

    def __init__(
        self,
        transactional_id: str,
        group: str,
        producer: int,
        epoch: int,
        where: TopicPartition,
        offset: int,
        said: str,
    ) -> None:
        """Take the next offset of a partition, and what is said beside it.

        It is of no generation of the group: who may write is settled by the transactional id.
        """
        topic, partition = where
        parts = (
            compact(transactional_id.encode()),
            compact(group.encode()),
            _PRODUCER.pack(producer, epoch),
            _GENERATION.pack(_NO_GENERATION),
            compact(b""),  # the member
            compact(None),  # its instance
            _ONE,
            compact(topic.encode()),
            _ONE,
            _OFFSET.pack(partition, offset, _NO_EPOCH),
            compact(said.encode()),
            NO_TAGS * 3,  # of partition, topic and request
        )
        super().__init__(b"".join(parts))


class Ended(NamedTuple):
    """What became of a transaction, and the producer id and epoch of the next one."""

    throttle_time_ms: int
    error_code: int
    producer_id: int
    producer_epoch: int

    @classmethod
    def decode(cls, data: BytesIO) -> Ended:
        """Decode an answer, its header left out."""
        return cls(*_ENDED.unpack(data.read(_ENDED.size)))


class RenewingEndTxnRequest(EncodedRequest):
    """EndTxn with commit, whose answer has the producer id and the epoch of the next transaction."""

    API_KEY = 26
    API_VERSION = 5
    IS_FLEXIBLE = True
    RESPONSE_TYPE = Ended
    __slots__ = ()

    def __init__(self, transactional_id: str, producer: int, epoch: int) -> None:
        """Take whose transaction it is."""
        super().__init__(compact(transactional_id.encode()) + _END.pack(producer, epoch, True) + NO_TAGS)  # noqa: FBT003


_TAGS: Final = ("tags", TaggedFields)
_KNOWN: Final = CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS)
_FEATURES: Final = CompactArray(
    ("name", CompactString("utf-8")), ("max_version_level", Int16), ("min_version_level", Int16), _TAGS
)
_FINALIZED: Final = 2  # the tag of the features that hold for the whole cluster


class Features(NamedTuple):
    """The levels of the features that hold for the whole cluster."""

    levels: dict[str, int]

    @classmethod
    def decode(cls, data: BytesIO) -> Features:
        """Decode an answer, its header left out."""
        Int16.decode(data)  # an error's code: such an answer has no features
        _KNOWN.decode(data)
        Int32.decode(data)
        tag = TaggedFields.decode(data).get(_FINALIZED)
        found: list[Any] = (_FEATURES.decode(BytesIO(tag)) or []) if tag else []
        return cls({name: level for name, level, *_ in found})


@cache
def _release() -> str:
    """Return which release this is; asked once: it is read from the disk, and each fence says it."""
    released, _, _ = version("annals").partition("+")  # brokers refuse what a local version has behind it
    return released


class FeaturesRequest(EncodedRequest):
    """ApiVersions in the version whose answer has the cluster's features."""

    API_KEY = 18
    API_VERSION = 3
    IS_FLEXIBLE = True
    RESPONSE_TYPE = Features
    __slots__ = ()

    def __init__(self) -> None:
        """Say who asks."""
        super().__init__(compact(b"annals") + compact(_release().encode()) + NO_TAGS)

    def parse_response_header(self, read_buffer: BytesIO) -> AnswerHeader:
        """Read what comes before the answer: of the oldest form always, since who asks may know no other."""
        return AnswerHeader(Int32.decode(read_buffer))


async def finalized_level(client: AIOKafkaClient, node: int, feature: str, **options: Any) -> int:
    """Return the level at which a cluster has a feature, as a broker of it says; 0 where it knows none."""
    try:
        features: Features = await client.send(node, FeaturesRequest(), **options)
    except IncompatibleBrokerVersion:  # before Kafka 2.4
        return 0
    return features.levels.get(feature, 0)
