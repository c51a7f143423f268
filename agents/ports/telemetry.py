"""What a shard reports about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.ports.commands import CommandRecord


class ShardTelemetry(Protocol):
    """What a shard tells about itself; constant work per batch."""

    def committed(self, batch: Any, records: Sequence[CommandRecord], decided_s: float, committed_s: float) -> None: ...
    def folded(self, counts: Mapping[str, int], position: int, end: int) -> None: ...
    def aborted(self) -> None: ...
    def fenced(self) -> None: ...
    def damaged(self) -> None: ...
    def cached(self, hits: int, misses: int, hot_bytes: int) -> None: ...
