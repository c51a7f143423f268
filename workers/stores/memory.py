"""The shard store in memory: for tests and benchmarks of the shells; equal to RocksDB's by the conformance suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.ports import VOIDS_BYTES, Stored
from annals.workers.stores.layout import START, VOIDS, encode_void, next_voids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.agents.ports import Changes, CommandEvents, Position


class MemoryStore:
    """A fold that is gone when the process is."""

    def __init__(self) -> None:
        """Begin empty, at the journal's start."""
        self._position = START
        self._aggregates: dict[bytes, Stored] = {}
        self._commands: dict[bytes, CommandEvents] = {}
        self._voids: dict[bytes, tuple[bytes, bytes]] = {}

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        return self._position

    def aggregate(self, key: bytes) -> Stored | None:
        """Return the aggregate of a key, its state encoded; None if it is absent."""
        return self._aggregates.get(key)

    def command(self, command: bytes) -> CommandEvents | None:
        """Return the events of a command (`ports.command_key`); None if it caused none."""
        return self._commands.get(command)

    def commands(self, commands: Sequence[bytes]) -> list[CommandEvents | None]:
        """Return what `command` returns for each of several."""
        return [self._commands.get(each) for each in commands]

    def is_void(self, cid: bytes) -> bool:
        """Whether a CID is that of a void event."""
        return cid in self._voids

    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the next void events, in the order of their CIDs: the record's key and the command id of each."""
        cids = sorted(each for each in self._voids if each > after)
        return next_voids(((VOIDS + cid, encode_void(*self._voids[cid])) for cid in cids), after, most_bytes)

    def aggregates(self) -> Iterator[tuple[bytes, Stored]]:
        """Return all aggregates as they are now, by key."""
        return iter(sorted(self._aggregates.items()))

    def apply(self, changes: Changes) -> None:
        """Apply the changes of one batch with their position, all or nothing."""
        # made first: what cannot be kept leaves nothing behind
        aggregates = {key: Stored(*stored) for key, stored in changes.aggregates.items()}
        self._aggregates.update(aggregates)
        self._commands.update(changes.commands)
        self._voids.update(changes.voids)
        self._position = changes.position

    def close(self) -> None:
        """Nothing is held open."""
