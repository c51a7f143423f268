"""What a shard reports, counted in memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.agents.ports import CommandRecord
    from annals.agents.writing.batches.batch import Batch


def _ignore() -> None:
    """Nobody waits for a commit."""


class MemoryTelemetry:
    """Counts (the `ShardTelemetry` port).

    statuses: outcomes by status; dead_letters: by reason; oversized: snapshots that were left out; folded_records: what
    folds met, by its name; position and end: of the last fold; on_commit: called after each batch.
    """

    def __init__(self, on_commit: Callable[[], None] = _ignore) -> None:
        """Begin at zero."""
        self.statuses: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.folded_records: Counter[str] = Counter()
        self.batches = self.events = self.forwarded = 0
        self.aborts = self.fences = self.damages = 0
        self.restore_points = self.oversized = self.restores = 0
        self.hits = self.misses = self.cached_bytes = 0
        self.position = self.end = 0
        self._on_commit = on_commit

    def committed(self, batch: Batch, records: Sequence[CommandRecord], decided_s: float, committed_s: float) -> None:
        """Count a batch that was committed."""
        del records, decided_s, committed_s
        tally = batch.tally
        self.batches += 1
        self.statuses.update(tally.statuses)
        self.dead_letters.update(tally.dead_letters)
        self.events += tally.events
        self.forwarded += tally.forwarded
        self.oversized += len(tally.oversized)
        self._on_commit()

    def folded(self, counts: Mapping[str, int], position: int, end: int) -> None:
        """Count what a fold met, and note how far it is."""
        self.folded_records.update(counts)
        self.position, self.end = position, end

    def aborted(self) -> None:
        """Count a transaction whose end is not known."""
        self.aborts += 1

    def fenced(self) -> None:
        """Count a fence by another writer."""
        self.fences += 1

    def damaged(self) -> None:
        """Count a damaged store."""
        self.damages += 1

    def restore_point(self, oversized: Sequence[str]) -> None:
        """Count a restore point that was made, and the aggregates whose snapshots it left out."""
        self.restore_points += 1
        self.oversized += len(oversized)

    def restored(self) -> None:
        """Count a shard that was opened from a restore point, and is folded in full."""
        self.restores += 1

    def cached(self, hits: int, misses: int, hot_bytes: int) -> None:
        """Count the look-ups in the aggregate cache, and note its size."""
        self.hits += hits
        self.misses += misses
        self.cached_bytes = hot_bytes
