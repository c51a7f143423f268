"""A shard's topics as whoever folds its journal needs them: how far they reach, and the journal's records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from annals.topics.group_metadata import EventAt, RecordAt


class JournalRecord(NamedTuple):
    """A record of the journal as it was read."""

    offset: int
    key: bytes | None
    value: bytes | None


class LogState(NamedTuple):
    """What Kafka says of a shard right after the fence. Offsets; None where there is none.

    committed: the group's next command offset; committed_journal_end: the journal's end in that commit's metadata;
    of commands, outcomes and journal the first offset that is still there (start), the last stable one (stable) and the
    high watermark (end); last_event and what follows it: see `annals.topics.group_metadata`.
    """

    committed: int | None
    committed_journal_end: int | None
    commands_start: int
    commands_stable: int
    commands_end: int
    outcomes_start: int
    outcomes_stable: int
    outcomes_end: int
    journal_start: int
    journal_stable: int
    journal_end: int
    last_event: EventAt | None = None
    accepted_until: int = 0
    last_command: RecordAt | None = None
    last_outcome: RecordAt | None = None
    unsure_until: int = 0
    others: str = ""
    restore: bytes | None = None


class Ends(NamedTuple):
    """Up to where three partitions reach, and where the journal begins: as brokers answer, or as a shard knows."""

    journal_start: int
    journal: int
    outcomes: int
    commands: int


class LogReader(Protocol):
    """How far a shard's topics reach, and what its journal has."""

    async def look(self) -> LogState: ...
    def read(self, start: int, end: int) -> AsyncIterator[list[JournalRecord]]: ...
    async def event_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None: ...
