"""The shard store in memory: for tests and benchmarks of the shells; equal to RocksDB's by the conformance suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.stores.layout import START

if TYPE_CHECKING:
    from agents.ports import Changes, CommandEvents, Position, Stored


class MemoryStore:
    """A fold that is gone when the process is."""

    def __init__(self) -> None:
        """Begin empty, at the journal's start."""
        self._position = START
        self._aggregates: dict[str, Stored] = {}
        self._commands: dict[tuple[str, str], CommandEvents] = {}
        self._voids: dict[bytes, tuple[str, str]] = {}

    def position(self) -> Position:
        """Return up to where the journal has been folded."""
        return self._position

    def aggregate(self, aggregate_id: str) -> Stored | None:
        """Return an aggregate, its state encoded; None if it is absent."""
        return self._aggregates.get(aggregate_id)

    def command(self, aggregate_id: str, command_id: str) -> CommandEvents | None:
        """Return the events of a command; None if it caused none."""
        return self._commands.get((aggregate_id, command_id))

    def is_void(self, cid: bytes) -> bool:
        """Whether a CID is that of a void event."""
        return cid in self._voids

    def voids(self) -> list[tuple[bytes, str, str]]:
        """Return all void events: CID, aggregate id, command id."""
        return [(cid, *ids) for cid, ids in self._voids.items()]

    def apply(self, changes: Changes) -> None:
        """Apply the changes of one batch with their position, all or nothing."""
        self._aggregates.update(changes.aggregates)
        self._commands.update(changes.commands)
        self._voids.update({cid: (aggregate_id, command_id) for cid, aggregate_id, command_id in changes.voids})
        self._position = changes.position

    def close(self) -> None:
        """Nothing is held open."""
