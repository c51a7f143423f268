"""A shard's topics as recovery needs them: what tells which commands are decided, where the group's offset does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from annals.agents.ports.reader import LogReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence

    from annals.agents.ports.commands import CommandRecord, Headers
    from annals.agents.ports.reader import JournalRecord, LogState


class OutcomeRecord(NamedTuple):
    """An outcome as it stands in its topic, whoever wrote it: a hint until it is compared with the chains.

    command_offset and journal_end: its headers `command-offset` and `journal-offset`.
    """

    key: bytes | None
    value: bytes | None
    command_offset: int
    journal_end: int | None


class CopyRecord(NamedTuple):
    """A record of commands that calls itself the copy of one of another partition, whoever wrote it.

    partition: where it is; offset: that of its original; headers: those of the original, as the copy has them.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


DeadLetterRecord = tuple[int, "bytes | None", "bytes | None"]
"""A dead letter of a shard's command, whoever wrote it: the offset that it names, key and value."""


KeyAndValue = tuple["bytes | None", "bytes | None"]


class LogRecovery(LogReader, Protocol):
    """Commands, outcomes, forwarded copies, dead letters and restore points, looked for where they stand.

    has_restore_points: whether there is a topic for them; restore_parts, snapshots: key and value of what is in the
    shard's partitions of `restore` and `snapshots`, whoever wrote it.
    """

    @property
    def has_restore_points(self) -> bool: ...

    def newest_outcomes(self, seen: LogState) -> AsyncIterator[list[OutcomeRecord]]: ...
    async def command_at(self, offset: int) -> CommandRecord | None: ...
    async def command_digest(self, offset: int, expected: str = "") -> str | None: ...
    async def outcome_digest(self, offset: int, expected: str = "") -> str | None: ...
    def read_commands(self, start: int, stop: int) -> AsyncIterator[Sequence[CommandRecord]]: ...
    def copies(self, tell: Callable[[str], None]) -> AsyncIterator[list[CopyRecord]]: ...
    def dead_letters(self) -> AsyncIterator[list[DeadLetterRecord]]: ...
    def outcomes_of(self, commands: Collection[tuple[bytes, bytes]]) -> AsyncIterator[OutcomeRecord]: ...
    def restore_parts(self) -> AsyncIterator[list[KeyAndValue]]: ...
    def snapshots(self) -> AsyncIterator[list[KeyAndValue]]: ...


class StandbyLog(LogRecovery, Protocol):
    """A shard's topics as a standby needs them. It is nobody's writer: where they stand can change at any time.

    until_moved: wait until the journal's last stable offset is another than the one given, and return it.
    """

    def read(self, start: int, end: int) -> AsyncGenerator[list[JournalRecord], None]: ...
    async def until_moved(self, offset: int) -> int: ...
