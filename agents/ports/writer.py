"""A shard's topics as their only writer needs them: the fence, and transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from annals.agents.ports.recovery import LogRecovery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.topics.group_metadata import GroupMetadata


Record = tuple[bytes, bytes, int, bytes]
"""What is written: key, value, timestamp in ms, and headers as `annals.topics.wire` encodes them."""


class Writes(Protocol):
    """The records of one transaction while it is being decided.

    add_events: of as many commands, one each; add_together: several of one command, which stay in one record batch;
    add_snapshot: 0, or the bytes that it would need where that is more than its topic takes, so that it is left out;
    add_restore_part: a record of `restore.<kind>`, which is never too large.
    """

    def add_events(self, records: Sequence[Record]) -> None: ...
    def add_together(self, records: Sequence[Record]) -> None: ...
    def add_snapshot(self, key: bytes, value: bytes, timestamp_ms: int) -> int: ...
    def add_restore_part(self, key: str, value: bytes) -> None: ...
    def add_outcomes(self, records: Sequence[Record]) -> None: ...
    def add_dead_letter(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: bytes) -> None: ...
    def add_forward(
        self, partition: int, key: bytes, value: bytes | None, timestamp_ms: int, headers: bytes
    ) -> bool: ...


class LogWriter(Protocol):
    """Fence and write. Every failure to write is Fenced or Uncertain."""

    async def fence(self) -> None: ...
    def writes(self) -> Writes: ...
    def throttled_s(self) -> float: ...
    async def commit(
        self, writes: Writes, next_offset: int, expected_base: int, known: GroupMetadata
    ) -> GroupMetadata: ...
    async def close(self) -> None: ...


class ShardLog(LogRecovery, LogWriter, Protocol):
    """All that a shard asks of its topics."""
