"""What is found by asking a reading shard: where it stands, events, states, lists, rows, runs of the journal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

ReadingPhase = Literal["opening", "reading", "stopped", "closed", "elsewhere"]
OPENING: Final = "opening"
READING: Final = "reading"
STOPPED: Final = "stopped"
CLOSED: Final = "closed"
ELSEWHERE: Final = "elsewhere"  # on another worker, which was not asked yet
PHASES: Final = frozenset(get_args(ReadingPhase))


class ShardPosition(NamedTuple):
    """The journal position that an answer rests on: all events that count below `offset`, the next one to be read."""

    kind: str
    partition: int
    offset: int


class ShardStatus(Struct, frozen=True):
    """Where a reading shard stands.

    phase: a `ReadingPhase`, or one that a worker of a later release sends; reason: why it is not reading. end: where
    the journal ended when it was last asked; reached: whether it has read up to the end that the journal had when it
    was opened. lag_s: the age of the oldest event that was not read, 0 when there is none. stale: follower name -> why
    its rows are behind. standby: whether it follows a partition that another worker has.
    """

    kind: str
    partition: int
    phase: str
    reason: str
    offset: int
    end: int
    reached: bool
    lag_s: float
    stale: dict[str, str]
    standby: bool = False


class FoundEvent(Struct, frozen=True):
    """One event that counts: its block as it is in the journal, read again and its CID computed anew."""

    event: dict[str, Any]
    block: bytes
    cid: bytes
    partition: int
    offset: int


class FoundState(Struct, frozen=True):
    """An aggregate at a version: `state` has DOMAIN's fields by name, as JSON types."""

    kind: str
    aggregate_id: str
    version: int
    head: bytes
    status: str
    recorded_at: str
    state: dict[str, Any]
    position: ShardPosition


class FoundAggregate(Struct, frozen=True):
    """An aggregate in a list; block_bytes: of all its blocks."""

    aggregate_id: str
    version: int
    head: bytes
    status: str
    first_at: str
    last_at: str
    block_bytes: int
    snapshot_version: int | None


class AggregatePage(Struct, frozen=True, array_like=True):
    """Aggregates by id, and whether there were no more.

    offset: they rest on the events that count below it; None from a worker of a release that does not tell. behind: the
    id up to which was looked, where the page ended before it was full.
    """

    aggregates: list[FoundAggregate]
    is_end: bool
    offset: int | None = None
    behind: str | None = None

    @property
    def until(self) -> str | None:
        """The id up to which there are no others; None: there are no more."""
        last = self.aggregates[-1].aggregate_id if self.aggregates else None
        return None if self.is_end else self.behind or last


class KeptSnapshot(Struct, frozen=True):
    """A state that the reading store keeps; size_bytes: of its encoding. A move or a rebuild may drop it."""

    version: int
    head: bytes
    size_bytes: int
    created_at: str


class SnapshotNumbers(Struct, frozen=True):
    """The snapshots that a store keeps.

    oldest_at: when the oldest was made. hits, misses: questions for former versions that began from one, or without.
    """

    count: int = 0
    size_bytes: int = 0
    oldest_at: str | None = None
    hits: int = 0
    misses: int = 0


class ShardNumbers(Struct, frozen=True):
    """What a partition has, and how it was read in the last minute.

    latency: seconds from an event's `recorded_at` until it was read, their mean and the greatest; 0 without events.
    """

    events: int
    aggregates: int
    block_bytes: int
    events_per_second: float
    latency_mean_s: float
    latency_max_s: float
    snapshots: SnapshotNumbers = SnapshotNumbers()


class EventFilter(Struct, frozen=True):
    """Which events are wanted; None: any. since (inclusive) and until (exclusive) compare `recorded_at`."""

    types: tuple[str, ...] = ()
    correlation_id: str | None = None
    causation_id: str | None = None
    command_id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class EventPage(Struct, frozen=True):
    """Events in the order of their offsets. next_offset: where the next page begins; is_end: there was no more.

    journal: identifies the partition's journal (a part of its first event's CID); empty while it has no event. begun:
    marks of where the page begins, None: not known; mark: of `next_offset`. A mark is a part of the CID of the event at
    an offset, or of the last one before it; empty: there is none.
    """

    events: list[FoundEvent]
    next_offset: int
    is_end: bool
    position: ShardPosition
    journal: bytes = b""
    begun: list[bytes] | None = None
    mark: bytes = b""


class FoundRow(Struct, frozen=True):
    """A row of a projection. key: where it stands among the rows of all partitions."""

    key: bytes
    row: dict[str, Any]


class Rebuilds(Struct, frozen=True):
    """What was built anew of a version's rows in a partition.

    done: how many rebuilds the rows that answer have seen; aggregates: the number of the last rebuild of one aggregate.
    beside: the follower of rows that are built beside those that answer, None where there are none; asked: for which
    rebuild; offset: where it is; failed: why it goes on no further. not_done: rebuilds of single aggregates that
    failed.
    """

    done: int
    aggregates: int = 0
    beside: str | None = None
    asked: int | None = None
    offset: int | None = None
    failed: str | None = None
    not_done: dict[int, str] = {}


class RowPage(Struct, frozen=True):
    """Rows in the order of their keys, and whether there were no more.

    position: the rows rest on the events that count below it; stale: why that is behind the shard, None where it is
    not. rebuilds: what was built anew; None from a worker of a release that does not tell. ordered_by: the parameter
    whose values the rows are in the order of, and their keys begin with; None: they are those of the rows alone.
    behind: the place up to which was looked, where the page ended before it was full; None: that of its last row.
    indexes: by how many the rows were looked for; a worker of a former release takes the first one alone.
    """

    rows: list[FoundRow]
    is_end: bool
    position: ShardPosition
    stale: str | None = None
    rebuilds: Rebuilds | None = None
    ordered_by: str | None = None
    behind: bytes | None = None
    indexes: int = 1

    @property
    def until(self) -> bytes | None:
        """The place up to which there are no other rows; None: there are no more, or nothing was asked for."""
        last = self.rows[-1].key if self.rows else None
        return None if self.is_end else self.behind or last


def union_of(pages: Sequence[RowPage], limit: int) -> RowPage:
    """Return a page of the rows that any of several pages of one partition has, up to where all of them know them."""
    if len(pages) == 1:
        return pages[0]
    cut = min((page.until for page in pages if page.until is not None), default=None)
    rows = {row.key: row for page in pages for row in page.rows if cut is None or row.key <= cut}
    keys = sorted(rows)
    is_full = len(keys) > limit
    return replace(
        min(pages, key=lambda page: page.position.offset),
        rows=[rows[key] for key in keys[:limit]],
        is_end=cut is None and not is_full,
        behind=None if is_full else cut,
        stale=next((page.stale for page in pages if page.stale is not None), None),
        indexes=len(pages),
    )


class JournalEvent(NamedTuple):
    """One event that counts, as it is copied: its map, block, CID, and the headers that are carried on.

    is_quiet: of a re-keyed stream: it was recorded before its reaction was resumed for the first time.
    """

    offset: int
    event: dict[str, Any]
    block: bytes
    cid: bytes
    carried: Sequence[tuple[str, bytes]]
    is_quiet: bool = False


class JournalRun(NamedTuple):
    """Events that count in the order of their offsets.

    next_offset: everything that counts below it is in or before; is_end: whether there were no more when it was read. A
    run may also end early, by its number of events or by their bytes.
    """

    events: list[JournalEvent]
    next_offset: int
    is_end: bool


def last_below(events: Sequence[JournalEvent], offset: int) -> bytes | None:
    """Return the CID of the last of some events below an offset; None if none is."""
    return next((event.cid for event in reversed(events) if event.offset < offset), None)
