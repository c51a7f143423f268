"""The compacted topic `jobs`: followed by every worker that reads, and changed by one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.schemas.job_record import MOST_BYTES, JobRecord, decode_job, encode_job
from annals.workers.kafka.write.compacted_topic import CompactedTopic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import Counter


class _Form:
    what = "jobs"
    most_bytes = 2 * MOST_BYTES
    encode = staticmethod(encode_job)
    decode = staticmethod(decode_job)


class JobTopic(CompactedTopic[JobRecord]):
    """What the topic says of each job."""

    def __init__(self, options: Mapping[str, Any], topic: str, invalid_records: Counter) -> None:
        """Take aiokafka client options, the topic's name, and what counts records that are passed over."""
        super().__init__(options, topic, _Form())
        self._invalid_records = invalid_records

    def _passed_over(self) -> None:
        """Count an invalid record."""
        super()._passed_over()
        self._invalid_records.inc()
