"""The ports of reading: what followers need of a store, and what an API may ask of a reading shard.

Keys and values are bytes. A key space begins with the prefix of its follower, so that followers never meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from annals.agents.ports import JournalRecord, StoreDamagedError
    from annals.agents.reading.found import (
        AggregatePage,
        EventFilter,
        EventPage,
        FoundEvent,
        FoundState,
        JournalRun,
        KeptSnapshot,
        RowPage,
        ShardNumbers,
        ShardStatus,
    )
    from annals.schemas.journal_reader import Counted

Key = tuple[str, int]
"""Which partition of what is followed: a kind, or `rekeyed.<name>` for a stream, and the partition's number."""

RUN_EVENTS: Final = 500  # that those who publish, deliver and react ask for at once


class FollowedRecord(NamedTuple):
    """A record of the journal as a reading shard takes it: with the headers that are carried to subscribers."""

    offset: int
    key: bytes | None
    value: bytes | None
    carried: Sequence[tuple[str, bytes]] = ()


class BrokenChainError(Exception):
    """What a reading store has is not what the journal had: a CID or a link differs. The message names the place."""


class UnreadableEventError(Exception):
    """This release cannot fold an event; the message names it. The events themselves are there to read."""


class NotReadyError(Exception):
    """The shard's store is not open; the message says why. Ask again later."""


class NotIndexedError(NotReadyError):
    """What is asked for is older than what has been read: the journal is still read from the beginning. Ask later."""


class VersionMissingError(LookupError):
    """The rows of this projection, or of this version of it, are not here; the message names it."""


class ReadView(Protocol):
    """Rows as they are between two batches, never half of one; of `get_many` see there."""

    def get(self, key: bytes) -> bytes | None:
        """Return a row; None if there is none."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of the keys; those of `layout.WRITTEN_ONCE` may have come later.

        Whoever must have none that came later asks for those that a row of the view names: what is written with it is
        there, and is never changed or removed.
        """

    def range(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows from `first` (inclusive) to `last` (exclusive) by key; reverse: from the last one down."""

    def keys(self, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[bytes]:
        """Return the keys of such a range alone: nothing of the rows, which may be large, is held."""


class Rows(ReadView, Protocol):
    """The rows of a batch while it is folded: what was put is seen at once, and written with the batch's positions."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set a row."""

    def delete(self, key: bytes) -> None:
        """Remove a row, if it is there."""


class ReadingStore(ReadView, Protocol):
    """One reading shard's store: a fold of one journal partition that carries its positions, and can be thrown away."""

    def view(self) -> AbstractContextManager[ReadView]:
        """Return a view that later batches do not change, but for what `get_many` says of rows written once."""

    def held(self) -> AbstractContextManager[ReadView]:
        """Return the rows as a view, to which nothing is written until the context ends: for short questions."""

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write rows (None: remove) in one write batch: all of them, or none."""

    def size_bytes(self) -> int:
        """Return the bytes of its files."""

    def close(self) -> None:
        """Close it."""


class Follower(Protocol):
    """A pure fold of the events that count in one partition into rows below its own prefix.

    name: names its position; version: another version begins anew, with no rows. spaces: the prefixes of all its rows.
    It is handed every event that counts, wanted or not, in the order of the journal; its position moves with every
    batch.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def spaces(self) -> Sequence[bytes]: ...
    def fold(self, events: Sequence[Counted[Any]], partition: int, rows: Rows) -> None:
        """Change rows by events. An exception stops this follower alone, at the event that it names."""


class ReadingStores(Protocol):
    """Opens a reading shard's store, and begins it anew where it is not a fold of this journal."""

    async def open(self) -> ReadingStore: ...
    async def renew(self, store: ReadingStore) -> ReadingStore: ...
    async def set_aside(self, damage: StoreDamagedError) -> None: ...
    async def close(self, store: ReadingStore) -> None: ...


class ScratchStores(Protocol):
    """Stores for one piece of work each, which are never opened again."""

    async def open_beside(self) -> ReadingStore:
        """Begin an empty one, and remove those that nobody holds any more."""

    async def discard(self, store: ReadingStore) -> None:
        """Close one and remove it."""


class ReadingTelemetry(Protocol):
    """What counts what befalls a reading shard."""

    def damaged(self) -> None:
        """Count a store that was damaged."""

    def snapshot_left_out(self) -> None:
        """Count a snapshot that was due and is too large."""

    def chain_broken(self) -> None:
        """Count that something read was not what the journal had."""


class JournalPartition(Protocol):
    """The journal partition that a reading shard follows, asked for what its source does not tell."""

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset that is still there, and the last stable one."""

    async def record_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the committed record at an offset; None if there is none.

        cid: of the value that it is to have; one that has it is right, whatever else of its batch is damaged.

        Raises:
            DamagedBatchError: its batch is damaged, and it may be.
        """


class RangedJournal(JournalPartition, Protocol):
    """A journal partition that is read in ranges."""

    def followed(self, start: int, end: int) -> AsyncIterator[Sequence[FollowedRecord]]:
        """Yield the committed records from `start` to below `end`, which is at most the last stable offset.

        Raises:
            UnreachableError: the brokers do not answer.
        """


class Journals(Protocol):
    """All journal partitions that global projections follow, by kind and partition."""

    async def bounds(self) -> dict[Key, tuple[int, int]]:
        """Return of each partition the first offset that is still there, and the last stable one."""

    async def record_at(self, where: Key, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the committed record at an offset; None if there is none.

        cid: of the value that it is to have; one that has it is right, whatever else of its batch is damaged.

        Raises:
            DamagedBatchError: its batch is damaged, and it may be.
        """

    def records(self, where: Key, start: int, end: int) -> AsyncIterator[Sequence[JournalRecord]]:
        """Yield the committed records from `start` to below `end`, some at a time."""


class ReadingShard(Protocol):
    """What may be asked of one partition's reading shard. Coroutines, since long ones run in a thread.

    BrokenChainError from any of them: what was read is not what the journal had; names the place.
    """

    @property
    def kind(self) -> str: ...
    @property
    def partition(self) -> int: ...
    def status(self) -> ShardStatus: ...
    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Wait until everything below an offset is read; False when it did not come. deadline: monotonic seconds."""

    async def until_version(self, aggregate_id: str, version: int, deadline: float) -> bool:
        """Wait until an aggregate has a version; False when it did not come."""

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet)."""

    async def state(
        self, aggregate_id: str, *, version: int | None = None, at: datetime | None = None
    ) -> FoundState | None:
        """Return an aggregate now, at a version, or by the events up to a time (inclusive); None if there is none."""

    async def history(
        self, aggregate_id: str, *, first: int, last: int | None, descending: bool, limit: int | None
    ) -> list[FoundEvent]:
        """Return an aggregate's events from one version to another, both inclusive; large ones fewer than the limit."""

    async def find(self, wanted: EventFilter, *, start: int | None, descending: bool, limit: int) -> EventPage:
        """Return events by type, correlation and so on. start: an offset (None: the first, descending: the last)."""

    async def by_cid(self, cid: bytes) -> FoundEvent | None:
        """Return the event of a CID."""

    async def aggregates(
        self, *, status: str | None, since: datetime | None, until: datetime | None, after: str | None, limit: int
    ) -> AggregatePage:
        """Return a page of aggregates by id, behind `after`; since, until: of the last event."""

    async def snapshots(
        self, aggregate_id: str, *, behind: int | None, descending: bool, limit: int
    ) -> list[KeptSnapshot]:
        """Return an aggregate's kept snapshots by version, behind one; descending: the newest first."""

    async def keep_snapshot(self, aggregate_id: str) -> KeptSnapshot | None:
        """Keep the state that an aggregate has now; None if there is no such aggregate."""

    async def drop_snapshot(self, aggregate_id: str, version: int) -> bool:
        """Remove a kept snapshot; False if there was none."""

    async def numbers(self) -> ShardNumbers:
        """Return what the partition has."""

    async def rows(
        self,
        projection: str,
        version: int,
        index: Mapping[str, str],
        *,
        after: bytes | None,
        limit: int,
        also: Sequence[Mapping[str, str]] = (),
    ) -> RowPage:
        """Return rows of a projection by its indexes (all must hold), or any of others, behind the key `after`.

        Raises:
            VersionMissingError: this version of the projection is not here.
        """


class JournalSource(Protocol):
    """What follows a journal through its reading shard, in this process: the shard judges, others copy."""

    @property
    def kind(self) -> str: ...
    @property
    def partition(self) -> int: ...
    def status(self) -> ShardStatus: ...
    def expect(self, offsets: Iterable[int]) -> None:
        """Take from where the journal is going to be read on."""

    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Wait until everything below an offset is read; False when it did not come. deadline: monotonic seconds."""

    async def until_behind(self, offset: int) -> None:
        """Wait until a record at an offset, or a later one, is read."""

    async def events_from(self, offset: int, limit: int) -> JournalRun:
        """Return the next events that count, from an offset on; what copies the journal reads all of it so."""

    async def last_before(self, offset: int) -> bytes | None:
        """Return the CID of the last event that counts below an offset; None if there is none.

        Raises:
            NotReadyError: it was not read up to there.
        """

    async def place_of(self, cid: bytes) -> int | None:
        """Return the offset of an event that counts; None if it is not in what was read."""


class Reading(Protocol):
    """All reading shards of this process, as the API sees them."""

    def shard(self, kind: str, partition: int) -> ReadingShard | None:
        """Return a shard; None if it is not here."""

    def standby(self, kind: str, partition: int) -> ReadingShard | None:
        """Return the standby of a partition that another worker has; None if there is none here."""

    def all(self) -> Sequence[ReadingShard]:
        """Return the shards that are here, standbys not among them."""

    def partitions(self, kind: str) -> int:
        """Return how many partitions a kind has: of its topic, never of who is there."""


class Member(Struct, frozen=True):
    """A member of the group that reads, as its leader told it at the last assignment.

    url: where its API listens; None when it tells none. partitions: kind -> partitions that it has. projections: name
    -> the newest version that its release knows. publishes: whether it publishes (`ANNALS_PUBLISH`). standby: kind ->
    partitions of others that it follows, to take them over.
    """

    id: str
    url: str | None
    partitions: dict[str, list[int]]
    projections: dict[str, int]
    publishes: bool = True
    standby: dict[str, list[int]] = {}


class Members(Protocol):
    """The group that reads, as of the last assignment: who has which partition."""

    @property
    def me(self) -> Member | None:
        """This process; None before its first assignment."""

    def all(self) -> Sequence[Member]:
        """Return all members, this process among them; empty before the first assignment."""

    def owner(self, kind: str, partition: int) -> Member | None:
        """Return who has a partition; None while nobody is known to."""

    def standbys(self, kind: str, partition: int) -> Sequence[Member]:
        """Return who is a standby of a partition; empty while nobody is known to."""


class Shards(Protocol):
    """The reading shard of any aggregate, here or with another member: its partition is of the topic's count."""

    def of(self, kind: str, aggregate_id: str) -> ReadingShard:
        """Return the shard that an aggregate is in.

        Raises:
            NotReadyError: nobody is known to have it.
        """

    def all(self) -> Sequence[ReadingShard]:
        """Return the shards of all partitions of all kinds."""
