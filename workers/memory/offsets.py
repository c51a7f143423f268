"""What a consumer group has committed, in memory, and what transactions have not decided yet."""

from __future__ import annotations

from annals.workers.memory.producers import Producers

Committed = tuple[int, str]
"""A group's next offset of a partition, and the metadata beside it."""


class GroupOffsets:
    """The offsets of one group."""

    def __init__(self) -> None:
        """Begin with none."""
        self.committed: dict[tuple[str, int], Committed] = {}
        self.producers = Producers()
        self._pending: dict[int, dict[tuple[str, int], Committed]] = {}

    def commit_in(self, producer_id: int, epoch: int, partition: tuple[str, int], offset: Committed) -> None:
        """Take an offset of a transaction; it counts once the transaction is committed."""
        self.producers.touched(producer_id, epoch, 0)
        self._pending.setdefault(producer_id, {})[partition] = offset

    def mark(self, producer_id: int, epoch: int, *, commits: bool) -> None:
        """End a producer's transaction."""
        pending = self._pending.pop(producer_id, {})
        if commits:
            self.committed |= pending
        self.producers.ended(producer_id, epoch)
