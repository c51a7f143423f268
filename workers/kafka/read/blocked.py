"""For how long transactions that are open have held partitions up.

Whoever reads what is committed reads up to the last stable offset: the first record of the oldest transaction that is
open. A transaction that is hung (the coordinator has ended it, and a partition never got its marker) looks the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from aiokafka.structs import TopicPartition


class BlockedPartitions:
    """The partitions whose last stable offset was below their end when they were looked at last."""

    def __init__(self) -> None:
        """Begin with none."""
        self._since: dict[TopicPartition, tuple[int, float]] = {}

    def seconds(self, where: TopicPartition, stable: int, end: int, now: float) -> float:
        """Return for how long the last stable offset of a partition has stood still below its end; 0: it has not.

        now: of a clock that never steps back, in seconds.
        """
        if stable >= end:
            self._since.pop(where, None)
            return 0.0
        at, since = self._since.get(where, (stable, now))
        if at != stable:
            since = now
        self._since[where] = stable, since
        return now - since

    def keep(self, wheres: Container[TopicPartition]) -> None:
        """Forget all partitions but these."""
        self._since = {where: known for where, known in self._since.items() if where in wheres}
