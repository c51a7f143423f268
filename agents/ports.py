"""The ports of the shells: what they ask of the outside, in a few verbs each.

`workers` implements them on Kafka, RocksDB and the clock; the in-memory ones are for speed and proven equal by the
conformance suites.

    JournalError
    ├── FencedError      another writer has the journal now
    ├── UncertainError   what became of a transaction is not known; fence and read
    │   └── OutlastedError   it took longer than a transaction may: not so much at once
    ├── UnreachableError the brokers do not answer; try again later
    ├── StaleStateError   what a shard stands on has changed under it; read again
    └── StoppedError     the shard must not go on by itself; names the place and what to do
        └── LostEndError what was acknowledged is not there any more

    StoreError                   a store cannot do what it was asked for; never the fault of a command
    ├── StoreDamagedError        what is on disk is not what was written: fold the journal anew
    └── StoreUnavailableError    files, space, rights or a lock are missing, the data is not: try again later
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from annals.topics.group_metadata import EventAt, GroupMetadata, RecordAt

    Headers = Sequence[tuple[str, bytes | None]]


class JournalError(Exception):
    """Something is wrong between a shard and its journal."""


class FencedError(JournalError):
    """Another writer holds the shard's transactional id now; nothing more of ours will ever be visible.

    outlasted: the transaction had taken longer than it may, and the broker fences whoever it takes one from, too.
    """

    def __init__(self, message: str, *, outlasted: bool = False) -> None:
        """Take what happened."""
        super().__init__(message)
        self.outlasted = outlasted


class UncertainError(JournalError):
    """Whether a transaction was committed is not known: drop what was decided, fence, read the journal again."""


class OutlastedError(UncertainError):
    """A transaction took longer than it may, or would have: the same at once would again."""


class UnreachableError(JournalError):
    """The brokers do not answer, or cannot at present; nothing was written. Try again later."""


class StaleStateError(JournalError):
    """The journal or the commands are not as this shard, their only writer or reader, left them: read again."""


class StoppedError(JournalError):
    """The shard stops: going on would mean to guess. The message says where it is and what to do."""


class LostEndError(StoppedError):
    """A partition ends below what was acknowledged in it: it lost its end, or was made anew.

    end: where it ends now; the message names where it ended, too.
    """

    def __init__(self, message: str, end: int) -> None:
        """Take the message and the end."""
        super().__init__(message)
        self.end = end


class StoreError(Exception):
    """A store cannot do what it was asked for. The message is RocksDB's; no command is at fault."""


class StoreDamagedError(StoreError):
    """What is on disk is not what was written. A store is only a fold: set it aside and fold the journal anew.

    folder: where the store is, for the factory; empty: it is the one that was opened last.
    """

    def __init__(self, message: str, folder: str = "") -> None:
        super().__init__(message)
        self.folder = folder


class StoreUnavailableError(StoreError):
    """Files, space, rights or a lock are missing. What is on disk may be whole: keep it, and try again later."""


class CommandRecord(Protocol):
    """A record as the consumer delivers it."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def timestamp(self) -> int: ...


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

    voids: those with CIDs beyond one, in the order of their CIDs, of about so many bytes; one at least if there is one.
    """

    def position(self) -> Position: ...
    def aggregate(self, key: bytes) -> Stored | None: ...
    def command(self, command: bytes) -> CommandEvents | None: ...
    def is_void(self, cid: bytes) -> bool: ...
    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]: ...
    def aggregates(self) -> Iterator[tuple[bytes, Stored]]: ...
    def apply(self, changes: Changes) -> None: ...
    def close(self) -> None: ...


class JournalRecord(NamedTuple):
    """A record of the journal as it was read."""

    offset: int
    key: bytes | None
    value: bytes | None


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


DeadLetterRecord = tuple[int, "bytes | None", "bytes | None"]
"""A dead letter of a shard's command, whoever wrote it: the offset that it names, key and value."""

KeyAndValue = tuple["bytes | None", "bytes | None"]

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


class ShardLog(Protocol):
    """One shard's topics: fence, look, read, write. Every failure to write is Fenced or Uncertain.

    has_restore_points: whether there is a topic for them; restore_parts, snapshots: key and value of what is in the
    shard's partitions of `restore` and `snapshots`, whoever wrote it.
    """

    @property
    def has_restore_points(self) -> bool: ...

    async def fence(self) -> None: ...
    async def look(self) -> LogState: ...
    def read(self, start: int, end: int) -> AsyncIterator[list[JournalRecord]]: ...
    async def event_at(self, offset: int) -> JournalRecord | None: ...
    def newest_outcomes(self, seen: LogState) -> AsyncIterator[list[OutcomeRecord]]: ...
    async def command_at(self, offset: int) -> CommandRecord | None: ...
    async def command_digest(self, offset: int) -> str | None: ...
    async def outcome_digest(self, offset: int) -> str | None: ...
    def read_commands(self, start: int, stop: int) -> AsyncIterator[Sequence[CommandRecord]]: ...
    def copies(self, tell: Callable[[str], None]) -> AsyncIterator[list[CopyRecord]]: ...
    def dead_letters(self) -> AsyncIterator[list[DeadLetterRecord]]: ...
    def outcomes_of(self, commands: Collection[tuple[bytes, bytes]]) -> AsyncIterator[OutcomeRecord]: ...
    def restore_parts(self) -> AsyncIterator[list[KeyAndValue]]: ...
    def snapshots(self) -> AsyncIterator[list[KeyAndValue]]: ...
    def writes(self) -> Writes: ...
    def throttled_s(self) -> float: ...
    async def commit(
        self, writes: Writes, next_offset: int, expected_base: int, known: GroupMetadata
    ) -> GroupMetadata: ...
    async def close(self) -> None: ...


class CommandSource(Protocol):
    """Where a shard's commands come from. What was fetched before the last `deliver_from` is of an older generation.

    decided_until: how far all is decided if all commands below an offset are: markers and aborted records behind the
    last of them included, as soon as they were read.
    """

    @property
    def generation(self) -> int: ...
    def deliver_from(self, offset: int) -> None: ...
    def decided_until(self, next_offset: int) -> int: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Delivery(NamedTuple):
    """What one fetch brought of one partition, and in which generation of its source.

    No records at all: the offset from which to go on is not in the topic (any more).
    """

    topic: str
    partition: int
    generation: int
    records: Sequence[CommandRecord]


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


class ShardTelemetry(Protocol):
    """What a shard tells about itself; constant work per batch."""

    def committed(self, batch: Any, records: Sequence[CommandRecord], decided_s: float, committed_s: float) -> None: ...
    def folded(self, counts: Mapping[str, int], position: int, end: int) -> None: ...
    def aborted(self) -> None: ...
    def fenced(self) -> None: ...
    def damaged(self) -> None: ...
    def restore_point(self, oversized: Sequence[str]) -> None: ...
    def restored(self) -> None: ...
    def cached(self, hits: int, misses: int, hot_bytes: int) -> None: ...


class Clock(Protocol):
    """The time, UTC."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
