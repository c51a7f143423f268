"""When a reading store keeps a snapshot by itself, and how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from annals.agents.reading.keeping.layout import ABSENT
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from annals.agents.reading.keeping.layout import AggregateRow


class SnapshotPolicy(Struct, frozen=True, kw_only=True):
    """The policy of one kind; 0: never for this reason, or without this bound.

    A snapshot is kept when an aggregate's version passes a multiple of `events`, the bytes of its blocks one of
    `bytes`, or its last event's time one of `seconds`. Larger than `largest` bytes it is left out. `keep`: of each
    aggregate the newest so many, and of older ones what `KeptSnapshots` does not thin out; `keep_seconds`: none that is
    older.
    """

    events: int = 0
    bytes: int = 0
    seconds: int = 0
    largest: int = 4 << 20
    keep: int = 0
    keep_seconds: int = 0

    @property
    def is_active(self) -> bool:
        """Whether snapshots are kept without being asked for."""
        return bool(self.events or self.bytes or self.seconds)

    def may_be_due(self, before: int, end: int) -> bool:
        """Whether a snapshot may be due between two versions: the quick question, which answers nearly always."""
        return bool(self.bytes or self.seconds) or _passes(self.events, before, end)

    def is_due(self, before: AggregateRow, end: AggregateRow) -> bool:
        """Whether a snapshot is due between two ends of an aggregate's chain."""
        if _passes(self.events, before.version, end.version) or _passes(
            self.bytes, before.block_bytes, end.block_bytes
        ):
            return True
        return before is not ABSENT and _passes(self.seconds, _second(before.last_at), _second(end.last_at))

    def oldest(self, now: datetime) -> str | None:
        """Return the time before which no snapshot that is kept was made; None: there is no such bound."""
        return recorded_at(now - timedelta(seconds=self.keep_seconds)) if self.keep_seconds else None


def _passes(every: int, before: int, end: int) -> bool:
    return bool(every) and before // every != end // every


def _second(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())
