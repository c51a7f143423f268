"""Keeps snapshots by a policy, in the write batch of the events that made them due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.agents.reading.keeping.layout import AggregateRow, read_aggregate
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from annals.agents.reading.keeping.overlay import Overlay
    from annals.agents.reading.keeping.states import States
    from annals.agents.reading.snapshots.kept import KeptSnapshots
    from annals.agents.reading.snapshots.policy import SnapshotPolicy
    from annals.schemas.journal_reader import Counted


class SnapshotKeeper:
    """Keeps the snapshots of one shard."""

    def __init__(
        self,
        policy: SnapshotPolicy,
        kept: KeptSnapshots,
        states: States,
        now: Callable[[], datetime],
        on_left_out: Callable[[str, int], None],
    ) -> None:
        """Take the policy, how snapshots and states are read, the time, and who is told what is too large."""
        self._policy = policy
        self._kept = kept
        self._states = states
        self._now = now
        self._on_left_out = on_left_out

    def fold(self, events: Sequence[Counted[Any]], rows: Overlay) -> None:
        """Add the snapshots that are due behind events, and remove those that they supersede."""
        if not self._policy.is_active:
            return
        before: dict[bytes, Any] = {}
        versions: dict[bytes, int] = {}
        for counted in events:
            before.setdefault(counted.key, counted.last)
            versions[counted.key] = counted.event["version"]
        for key, last in before.items():
            if isinstance(last, AggregateRow) and self._policy.may_be_due(last.version, versions[key]):
                end = read_aggregate(rows, key)
                if self._policy.is_due(last, end):
                    self._keep(key, end, rows)

    def _keep(self, key: bytes, end: AggregateRow, rows: Overlay) -> None:
        version, state = self._states.read(rows, key)
        if version != end.version:  # this release cannot read one of its events
            return
        now = self._now()
        kept, changes = self._kept.rows_of(key, end.version, end.head or b"", state, recorded_at(now))
        if kept.size_bytes > self._policy.largest:
            self._on_left_out(key.decode(), kept.size_bytes)
            return
        rows.changes.update(changes)
        rows.changes.update(self._kept.superseded(rows, key, self._policy.keep, self._policy.oldest(now)))
