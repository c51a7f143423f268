"""For how long transactions that are open have held partitions up.

Whoever reads what is committed reads up to the last stable offset: the first record of the oldest transaction that is
open. A transaction that is hung (the coordinator has ended it, and a partition never got its marker) looks the same.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.structs import TopicPartition

    from annals.agents.ports import Clock


log = structlog.get_logger(__name__)

PATIENCE_S: Final = 30.0  # no transaction of a worker lasts so long, also when the worker died
REMEDY: Final = (
    "It ends by its producer, or by the broker after that producer's transaction.timeout.ms. If it does not, "
    "'kafka-transactions.sh find-hanging' finds it and 'abort' ends it."
)


class BlockedPartitions:
    """The partitions whose last stable offset was below their end when they were looked at last."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock = clock
        self._since: dict[TopicPartition, tuple[int, float]] = {}
        self._told: set[TopicPartition] = set()
        self.problems: list[str] = []
        """Where nothing is read any more, since when, with what to do: a sentence or more for each partition."""

    def seconds(self, where: TopicPartition, stable: int, end: int) -> float:
        """Return for how long the last stable offset of a partition has stood still below its end; 0: it has not."""
        if stable >= end:
            self._since.pop(where, None)
            return 0.0
        now = self._clock.monotonic()
        at, since = self._since.get(where, (stable, now))
        if at != stable:
            since = now
        self._since[where] = stable, since
        return now - since

    def note(
        self, stable: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, float]:
        """Take the last stable offsets and the ends of all partitions that are looked at; log and name what is blocked.

        Return for how many seconds, of those that are so for longer than by a worker's transaction.
        """
        self._since = {where: known for where, known in self._since.items() if where in stable}
        seconds = {where: self.seconds(where, offset, ends[where]) for where, offset in stable.items()}
        blocked = {where: each for where, each in seconds.items() if each >= PATIENCE_S}
        self.problems = [
            f"{where.topic}-{where.partition} ends at offset {ends[where]} and can be read up to offset "
            f"{stable[where]} only, since {self._ago(each)}: a transaction is open there. {REMEDY}"
            for where, each in blocked.items()
        ]
        for where in blocked.keys() - self._told:
            log.error(
                "a transaction holds a partition up", topic=where.topic, partition=where.partition, at=stable[where]
            )
        for where in self._told.difference(blocked):
            log.info("a partition is read again", topic=where.topic, partition=where.partition)
        self._told = set(blocked)
        return blocked

    def _ago(self, seconds: float) -> str:
        return (self._clock.now() - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
