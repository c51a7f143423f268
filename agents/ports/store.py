"""The store of a shard, a fold of its journal, and what opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec import Struct

from annals.schemas.cid import cid_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.ports.errors import StoreDamagedError
    from annals.agents.ports.reader import JournalRecord


class Aggregate(Struct, frozen=True, gc=False):
    """Where an aggregate stands: its chain's last version and CID, when that was recorded, and its state."""

    version: int
    head: bytes | None
    recorded_at: str
    state: Any


class Position(NamedTuple):
    """Up to where a fold has read its journal.

    offset: the next offset to read; last_offset and last_cid: the last record that was read and the CID of its value,
    -1 and empty before any.
    """

    offset: int
    last_offset: int
    last_cid: bytes

    def stands_at(self, record: JournalRecord | None) -> bool:
        """Whether the journal's record at `last_offset` is the last one that was read; None: there is no record."""
        return record is not None and self.last_cid == (b"" if record.value is None else cid_of(record.value))


class Stored(NamedTuple):
    """An aggregate as a store keeps it, its state still encoded."""

    version: int
    head: bytes
    recorded_at: str
    state: bytes


CommandEvents = tuple[int, "Sequence[tuple[bytes, str]]"]  # the first version; of each event its CID and type


class Changes(NamedTuple):
    """What one batch of journal records changes in the store: applied whole, with the position, or not at all."""

    aggregates: Mapping[bytes, Stored]  # by the aggregate id in UTF-8, the record's key
    commands: Mapping[bytes, CommandEvents]  # by `command_key`
    voids: Mapping[bytes, tuple[bytes, bytes]]  # by CID: the record's key and the command id in UTF-8
    position: Position


LENGTH: Final = 4


def command_key(key: bytes, command_id: bytes) -> bytes:
    """Return what a command is known by: the aggregate id with its length, and the command id, both in UTF-8."""
    return len(key).to_bytes(LENGTH, "big") + key + command_id


VOIDS_BYTES: Final = 16 << 20
VOID_BYTES: Final = 400  # of one in memory, beside key and command id


class ShardStore(Protocol):
    """A fold of one journal partition that carries its position, and can be thrown away.

    commands: several at once, in the order asked for, which is faster than one by one.
    voids: those with CIDs beyond one, in the order of their CIDs, of about so many bytes; one at least if there is one.
    """

    def position(self) -> Position: ...
    def aggregate(self, key: bytes) -> Stored | None: ...
    def command(self, command: bytes) -> CommandEvents | None: ...
    def commands(self, commands: Sequence[bytes]) -> Sequence[CommandEvents | None]: ...
    def is_void(self, cid: bytes) -> bool: ...
    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]: ...
    def aggregates(self) -> Iterator[tuple[bytes, Stored]]: ...
    def apply(self, changes: Changes) -> None: ...
    def close(self) -> None: ...


class StoreFactory(Protocol):
    """Opens a shard's store, and begins it anew where it is not a fold of this journal.

    set_aside: a damaged store, which is closed, makes room for the next one that is opened; open_beside: an empty store
    beside the shard's own, which is gone once it is discarded.
    """

    async def open(self) -> ShardStore: ...
    async def renew(self, store: ShardStore) -> ShardStore: ...
    async def set_aside(self, damage: StoreDamagedError) -> None: ...
    async def close(self, store: ShardStore) -> None: ...
    async def open_beside(self) -> ShardStore: ...
    async def discard(self, store: ShardStore) -> None: ...
