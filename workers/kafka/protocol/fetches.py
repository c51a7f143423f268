"""Fetches in few calls: requests and answers as Kafka has them on the wire (API key 1, version 11).

aiokafka encodes and decodes them field by field, each by calls of its own. A worker of seven kinds asks for 28
partitions some hundred times a second, and most have nothing new.

Source: kafka.apache.org/protocol, Fetch; what is the same for all partitions is packed at once.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11, FetchResponse_v11

from annals.workers.kafka.protocol.wire_requests import EncodedRequest

if TYPE_CHECKING:
    from io import BytesIO

    Answered = tuple[int, int, int, int, int, list[tuple[int, int]] | None, int, bytes | None]

_VERSION: Final = FetchRequest_v11.API_VERSION
_ANY_REPLICA: Final = -1
_NO_SESSION: Final = (0, -1)
_NO_EPOCH: Final = -1
_NO_START: Final = -1

_NUMBER: Final = Struct(">i")
_LENGTH: Final = Struct(">h")
_ASKED: Final = Struct(">iiiibiii")  # replica, wait, least and most bytes, isolation, session, its epoch, topics
_ASKED_PARTITION: Final = Struct(">iiqqi")  # partition, leader's epoch, offset, start of the log, most bytes
_ANSWER: Final = Struct(">ihii")  # throttled, error, session, topics
_PARTITION: Final = Struct(">ihqqqi")  # partition, error, high watermark, stable, start of the log, aborted ones
_ABORTED: Final = Struct(">qq")  # producer, its first offset
_RECORDS: Final = Struct(">ii")  # preferred replica, bytes


class _Answer(FetchResponse_v11):
    """What aiokafka's own decoder makes of the same bytes."""

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _Answer:
        """Decode an answer, its header left out."""
        with memoryview(data if isinstance(data, bytes) else data.read()) as view:
            throttled, error, session, count = _ANSWER.unpack_from(view)
            at, topics = _ANSWER.size, []
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(view, at)
                at += _LENGTH.size
                name = str(view[at : at + length], "utf-8")
                at += length
                (partitions,) = _NUMBER.unpack_from(view, at)
                answered, at = _partitions(view, at + _NUMBER.size, partitions)
                topics.append((name, answered))
        return cls(throttled, error, session, topics)


def _partitions(view: memoryview, at: int, count: int) -> tuple[list[Answered], int]:
    """Return what was answered of a topic's partitions, and where what follows it begins."""
    answered: list[Answered] = []
    for _ in range(count):
        partition, error, high, stable, start, number = _PARTITION.unpack_from(view, at)
        at += _PARTITION.size
        aborted: list[Any] | None = None if number < 0 else []
        if number > 0:
            end = at + number * _ABORTED.size
            aborted, at = list(_ABORTED.iter_unpack(view[at:end])), end
        replica, size = _RECORDS.unpack_from(view, at)
        at += _RECORDS.size
        records = None if size < 0 else bytes(view[at : at + size])
        at += max(size, 0)
        answered.append((partition, error, high, stable, start, aborted, replica, records))
    return answered, at


class _Request(EncodedRequest):
    """A request that is encoded already."""

    API_KEY = FetchRequest_v11.API_KEY
    API_VERSION = _VERSION
    IS_FLEXIBLE = False
    RESPONSE_TYPE = _Answer
    __slots__ = ()


class QuickFetchRequest(FetchRequest):
    """aiokafka's request, encoded here where the broker knows this version, which those since Kafka 2.3 do."""

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """Return the request as it is sent to a broker that knows these versions."""
        least, most = versions.get(self.API_KEY, (0, 0))
        return _Request(self._encoded()) if least <= _VERSION <= most else super().prepare(versions)

    def narrowed(self, topics: Any, max_wait_ms: int) -> QuickFetchRequest:
        """Return the same request for some of its partitions, which waits no longer than this."""
        bounds = self._min_bytes, self._max_bytes, self._isolation_level
        return QuickFetchRequest(min(max_wait_ms, self._max_wait_ms), *bounds, topics, rack_id=self._rack_id)

    def _encoded(self) -> bytes:
        topics = self._topics
        bounds = self._max_wait_ms, self._min_bytes, self._max_bytes, self._isolation_level
        parts = [_ASKED.pack(_ANY_REPLICA, *bounds, *_NO_SESSION, len(topics))]
        for topic, partitions in topics:
            name = topic.encode()
            parts += (_LENGTH.pack(len(name)), name, _NUMBER.pack(len(partitions)))
            parts += [
                _ASKED_PARTITION.pack(partition, _NO_EPOCH, offset, _NO_START, most_bytes)
                for partition, offset, most_bytes in partitions
            ]
        rack = self._rack_id.encode()
        parts += (_NUMBER.pack(0), _LENGTH.pack(len(rack)), rack)  # no topics that are forgotten
        return b"".join(parts)
