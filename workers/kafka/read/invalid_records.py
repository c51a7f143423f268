"""Records that a worker reads for itself and cannot take: each is counted and logged once, and passed over.

Topics are read again and again: at each opening, for each request. What was noted of a partition is remembered by its
offset, the newest of MOST_NOTED of all partitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Counter

if TYPE_CHECKING:
    from aiokafka.structs import TopicPartition
    from prometheus_client import CollectorRegistry


MOST_NOTED: Final = 10_000
HELP: Final = "records of topics that workers keep for themselves which were no valid ones, and were passed over"
log = structlog.get_logger(__name__)


class InvalidRecords:
    """What one process has passed over. Without a registry, nothing is counted."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare the metric, and begin with none."""
        self._noted: dict[tuple[str, int, int], None] = {}  # in the order of noting
        self._count = registry and Counter("annals_records_invalid_total", HELP, ("topic",), registry=registry)

    def expect(self, topic: str) -> None:
        """Begin to count at 0, so that the first record is an increase."""
        if self._count:
            self._count.labels(topic)

    def note(self, where: TopicPartition, offset: int, reason: str) -> None:
        """Say that a record is passed over; reason: what is wrong with it, and never what is in it."""
        place = (*where, offset)
        if place in self._noted:
            return
        self._noted[place] = None
        if len(self._noted) > MOST_NOTED:
            del self._noted[next(iter(self._noted))]
        self._count_one(where.topic)
        log.warning(
            "a record is passed over", topic=where.topic, partition=where.partition, offset=offset, reason=reason[:500]
        )

    def _count_one(self, topic: str) -> None:
        """Count a record that was met for the first time."""
        if self._count:
            self._count.labels(topic).inc()


class NoInvalidRecords(InvalidRecords):
    """Says nothing: of one who asks, where the workers say it already."""

    def note(self, where: TopicPartition, offset: int, reason: str) -> None:
        """Pass over."""


PASSED_OVER: Final = NoInvalidRecords()
