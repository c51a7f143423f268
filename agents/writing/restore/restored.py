"""The store of a shard that was opened from a restore point, until the whole journal is folded behind it.

What it knows of commands before the restore point is their hashes. One that is hit may be another command's: the record
in the journal tells. Whoever is about to look commands up has them resolved before, since look-ups do not wait.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, Final

from annals.agents.defects import is_no_defect
from annals.agents.ports import VOIDS_BYTES, StaleStateError, StoreError, command_key
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import cid_of
from annals.schemas.restore_point import command_hash
from annals.schemas.wire.dead_letter import DeadLetter
from annals.schemas.wire.reading import read_commands

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator, Sequence

    from annals.agents.ports import (
        Changes,
        CommandEvents,
        CommandRecord,
        JournalRecord,
        LogRecovery,
        Position,
        ShardStore,
        Stored,
    )
    from annals.schemas.restore_point import Ids

MOST_RESOLVED: Final = 100_000


class UnresolvedCommandError(StoreError):
    """A command was looked up that may be known, and was not resolved before: a defect of the caller."""


class KnownIds:
    """The hashes of all commands before a restore point, each with the offset of its first event."""

    def __init__(self, segments: Sequence[Ids]) -> None:
        """Merge the segments."""
        self._segments = segments
        self._hashes: array[int] = type(segments[0].hashes)("Q") if segments else []  # type: ignore[assignment]
        if segments:
            self._hashes.extend(sorted(chain.from_iterable(each.hashes for each in segments)))

    def __contains__(self, command: bytes) -> bool:
        """Whether a command may be known."""
        return _index(self._hashes, command_hash(command)) >= 0

    def offsets(self, command: bytes) -> list[int]:
        """Return where the first event of a command may be, the last place first."""
        wanted = command_hash(command)
        found = []
        for hashes, offsets in self._segments:
            at = _index(hashes, wanted)
            while 0 <= at < len(hashes) and hashes[at] == wanted:
                found.append(offsets[at])
                at += 1
        return sorted(found, reverse=True)


def _index(hashes: Sequence[int], wanted: int) -> int:
    at = bisect_left(hashes, wanted)
    return at if at < len(hashes) and hashes[at] == wanted else -1


class RestoredStore:
    """A store that holds what a restore point says and what came after it (the `ShardStore` port).

    beside: where that is kept; full: the shard's own store, which is folded behind it; since: the restore point's place
    in the journal.
    """

    def __init__(self, kind: str, beside: ShardStore, full: ShardStore, ids: KnownIds, since: int) -> None:
        """Take the stores, and the commands before the restore point."""
        self.kind = kind
        self.beside = beside
        self.full = full
        self.ids = ids
        self.since = since
        self.has_failed = False
        """Whether it was asked what it cannot answer: the shard must not be opened like this again."""
        self._resolved: dict[bytes, CommandEvents | None] = {}

    def position(self) -> Position:
        """Return up to where it stands for the journal."""
        return self.beside.position()

    def aggregate(self, key: bytes) -> Stored | None:
        """Return the aggregate of a key."""
        return self.beside.aggregate(key)

    def aggregates(self) -> Iterator[tuple[bytes, Stored]]:
        """Return all aggregates."""
        return self.beside.aggregates()

    def command(self, command: bytes) -> CommandEvents | None:
        """Return the events of a command that was resolved before, or is not known."""
        found = self.beside.command(command)
        if found is not None or command not in self.ids:
            return found
        try:
            return self._resolved[command]
        except KeyError:
            self.has_failed = True
            raise UnresolvedCommandError(f"a command was looked up before it was resolved: {command!r}") from None

    def commands(self, commands: Sequence[bytes]) -> list[CommandEvents | None]:
        """Return what `command` returns for each of several."""
        return [self.command(each) for each in commands]

    def is_void(self, cid: bytes) -> bool:
        """Whether a CID is that of a void event."""
        return self.beside.is_void(cid)

    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the next void events, in the order of their CIDs."""
        return self.beside.voids(after, most_bytes)

    def apply(self, changes: Changes) -> None:
        """Apply the changes of one batch with their position."""
        self.beside.apply(changes)

    def close(self) -> None:
        """Leave both stores to who opened them."""

    async def resolve(self, journal: LogRecovery, commands: Iterable[bytes]) -> None:
        """Find out, by reading the journal, what became of those of these commands that may be known."""
        if len(self._resolved) > MOST_RESOLVED:
            self._resolved.clear()
        for command in commands:
            if command in self.ids and command not in self._resolved and self.beside.command(command) is None:
                self._resolved[command] = await self._events_of(journal, command)

    async def _events_of(self, journal: LogRecovery, command: bytes) -> CommandEvents | None:
        for offset in self.ids.offsets(command):
            await self._require(journal, command, offset)
            found = await self._events_at(journal, command, offset)
            if found is not None:
                return found
        return None  # another command has this hash

    async def _require(self, journal: LogRecovery, command: bytes, offset: int) -> None:
        """See that there is an event with this command's hash: what cannot be read must not pass for another's.

        Raises:
            StaleStateError: there is none.
        """
        record = await journal.event_at(offset)
        found = None if record is None else _event_of(self.kind, record)
        if found is None or command_hash(found[0]) != command_hash(command):
            raise StaleStateError(f"offset {offset} of the journal has no event of the command that was there")

    async def _events_at(self, journal: LogRecovery, command: bytes, offset: int) -> CommandEvents | None:
        """Return the events of a command from an offset on; they are in one batch, one behind the other."""
        first, events = 0, list[tuple[bytes, str]]()
        while offset < self.since:
            record = await journal.event_at(offset)
            found = None if record is None else _event_of(self.kind, record)
            if record is None or found is None or found[0] != command:
                break
            _, version, name = found
            cid = cid_of(record.value or b"")
            if self.is_void(cid) or (events and version != first + len(events)):
                break
            first = first or version
            events.append((cid, name))
            offset += 1
        return (first, events) if events else None


def _event_of(kind: str, record: JournalRecord) -> tuple[bytes, int, str] | None:
    """Return an event's command key, version and type; None for what is no event."""
    try:
        event = read_block(kind, record.value)
    except ForeignError:
        return None
    return command_key(record.key or b"", event["command_id"].encode()), event["version"], event["type"]


async def resolve(store: ShardStore, journal: LogRecovery, commands: Iterable[bytes]) -> None:
    """Have commands resolved before they are looked up, where the store needs that."""
    if isinstance(store, RestoredStore):
        await store.resolve(journal, commands)


def commands_in(kind: str, records: Iterable[JournalRecord]) -> Iterator[bytes]:
    """Yield the keys of the commands that caused these records of a journal."""
    for record in records:
        found = _event_of(kind, record)
        if found is not None:
            yield found[0]


def commands_of(records: Iterable[CommandRecord], command_bytes: int) -> Iterator[bytes]:
    """Yield the keys of commands as they were sent; of what cannot be read nobody asks."""
    for record in records:
        try:
            command = read_commands([record], command_bytes)[0]
        except Exception as error:  # a defect of reading: it is met again when the command is decided
            if is_no_defect(error):
                raise
            continue
        if not isinstance(command, DeadLetter):
            yield command_key(command.aggregate_id.encode(), command.id.encode())


async def stands(store: RestoredStore, journal: LogRecovery, journal_end: int) -> bool:
    """Whether the journal still has the last record that the store knows, where it stood."""
    position = store.position()
    there = (
        await journal.event_at(position.last_offset, position.last_cid) if position.last_offset < journal_end else None
    )
    return there is not None and cid_of(there.value or b"") == position.last_cid
