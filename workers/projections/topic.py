"""The compacted topic `projections`: followed by every worker that reads, and changed by one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.schemas.projection_record import MOST_BYTES, ProjectionRecord, decode_record, encode_record
from annals.workers.kafka.write.compacted_topic import CompactedTopic, RecordBusyError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ProjectionTopic", "RecordBusyError"]


class _Form:
    what = "projections"
    most_bytes = MOST_BYTES
    encode = staticmethod(encode_record)
    decode = staticmethod(decode_record)


class ProjectionTopic(CompactedTopic[ProjectionRecord]):
    """What the topic says of each projection."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        """Take aiokafka client options, and the topic's name."""
        super().__init__(options, topic, _Form())
