"""Which commands have their answer already: an outcome, a copy in the partition where they belong, or a dead letter.

Asked where the group's offset may be behind what was decided. Each of the three is looked for command by command: one
record that names a command says nothing of those before it, whoever wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.ports import command_key
from annals.agents.writing.recovery.outcomes import borne_out
from annals.schemas.wire.dead_letter import DeadLetter
from annals.schemas.wire.reading import read_commands
from annals.topics.headers import origin_of
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.agents.ports import CommandRecord, LogRecovery, LogState, ShardStore
    from annals.agents.writing.shard_id import ShardId

log = structlog.get_logger(__name__)

PIECE: Final = 100_000  # commands looked for at once: each takes some 100 bytes until its answer is found


class _Unanswered:
    """Commands whose answer is looked for, by their offsets, each with the hash of what its answer must repeat."""

    def __init__(self, place: ShardId, command_bytes: int) -> None:
        self._place = place
        self._command_bytes = command_bytes
        self.offsets: set[int] = set()
        self.decided: dict[int, int] = {}
        self.forwarded: dict[int, int] = {}
        self.unreadable: dict[int, int] = {}

    def add(self, records: Sequence[CommandRecord]) -> None:
        """Take commands, and find out which kind of answer each must have."""
        _, _, partition, partitions = self._place
        for record, command in zip(records, read_commands(records, self._command_bytes), strict=True):
            offset, value, headers = record.offset, record.value, record.headers
            self.offsets.add(offset)
            if not isinstance(command, DeadLetter):
                key = command.aggregate_id.encode()
                home = partition_of(key, partitions)
                if home == partition:
                    self.decided[offset] = hash(command_key(key, command.id.encode()))
                    continue
                if origin_of(headers) is None:
                    self.forwarded[offset] = hash((home, key, value, tuple(headers)))
            self.unreadable[offset] = hash((record.key, value))  # a copy that would be too large is one, too

    def match(self, kind: dict[int, int], offset: int, what: int) -> None:
        """Take an answer: it is one if it repeats what this command says."""
        if kind.get(offset) == what:
            self.offsets.discard(offset)

    def wait_in(self, kind: dict[int, int]) -> bool:
        """Whether any command could still have an answer of this kind."""
        return not self.offsets.isdisjoint(kind)


class Answers:
    """Finds the answers of one shard's commands; `found` has those that need none any more, by their offsets."""

    def __init__(self, journal: LogRecovery, place: ShardId, command_bytes: int, tell: Callable[[str], None]) -> None:
        """Take the shard's topics, its place and limit; tell: is told what is waited for."""
        self.found: set[int] = set()
        self._journal = journal
        self._place = place
        self._command_bytes = command_bytes
        self._tell = tell
        self._looked_until = 0
        self._unsure_until = 0

    async def first_missing(self, store: ShardStore, seen: LogState, start: int, stop: int) -> int:
        """Return the first command from `start` to below `stop` without an answer; `stop` if all have one.

        seen: what `LogReader.look` said when `store` was folded.
        """
        asked = self._none()
        async for records in self._journal.read_commands(start, stop):
            asked.add(records)
            if len(asked.offsets) >= PIECE:
                await self._find(asked, store, seen)
                if asked.offsets:
                    return min(asked.offsets)
                asked = self._none()
        await self._find(asked, store, seen)
        return min(asked.offsets, default=stop)

    def begin(self, first: int, unsure_until: int) -> None:
        """Forget what was found. Of the commands from `first` to below the other, some may be answered already."""
        self.found = set()
        self._looked_until, self._unsure_until = first, unsure_until

    def must_look(self, records: Sequence[CommandRecord]) -> bool:
        """Whether one of these may have a copy or a dead letter that was not looked for: no outcome tells of those."""
        return records[0].offset < self._unsure_until and records[-1].offset >= self._looked_until

    async def look(self, records: Sequence[CommandRecord]) -> None:
        """Find the copies and dead letters of these, and of many behind them that are not sure either."""
        first, end = records[0].offset, records[-1].offset + 1
        asked = self._none()
        async for step in self._journal.read_commands(first, min(max(end, first + PIECE), self._unsure_until)):
            asked.add(step)
        await self._find_others(asked)
        self._looked_until = max(end, first + PIECE)
        self.found = (asked.forwarded.keys() | asked.unreadable.keys()) - asked.offsets
        if self.found:
            where = {"kind": self._place.kind, "partition": self._place.partition}
            log.warning(
                "forwarded or kept as dead letters before the group's offset was lost",
                commands=len(self.found),
                **where,
            )

    def _none(self) -> _Unanswered:
        return _Unanswered(self._place, self._command_bytes)

    async def _find(self, asked: _Unanswered, store: ShardStore, seen: LogState) -> None:
        """Find the answers of commands; those that have none are left."""
        if asked.wait_in(asked.decided):
            async for step in self._journal.newest_outcomes(seen):
                of_these = [record for record in step if record.command_offset in asked.decided]
                for record, outcome in await borne_out(self._journal, store, self._place, seen, of_these):
                    known = command_key(outcome.aggregate_id.encode(), outcome.command_id.encode())
                    asked.match(asked.decided, record.command_offset, hash(known))
                if not asked.wait_in(asked.decided):
                    break
        await self._find_others(asked)

    async def _find_others(self, asked: _Unanswered) -> None:
        if asked.wait_in(asked.forwarded):
            async for copies in self._journal.copies(self._tell):
                for partition, offset, key, value, headers in copies:
                    asked.match(asked.forwarded, offset, hash((partition, key, value, tuple(headers))))
                if not asked.wait_in(asked.forwarded):
                    break
        if asked.wait_in(asked.unreadable):
            async for letters in self._journal.dead_letters():
                for offset, key, value in letters:
                    asked.match(asked.unreadable, offset, hash((key, value)))
