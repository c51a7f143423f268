"""What may be asked of a reading shard: each question on one view of its rows."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from msgspec.structs import replace

from annals.agents.ports import StoreError
from annals.agents.reading.following.pace import Pace
from annals.agents.reading.found import ShardNumbers
from annals.agents.reading.gathering.gather import STANDBY, why_behind
from annals.agents.reading.keeping.layout import read_counts
from annals.agents.reading.ports import NotReadyError, VersionMissingError
from annals.agents.reading.projecting.rows import aggregates_name, follower_name
from annals.agents.reading.queries import aggregates as of_aggregates
from annals.agents.reading.queries import events as of_events
from annals.agents.reading.queries.find import find, find_recent
from annals.agents.reading.queries.run import events_at, last_before, placed_from, run_from, run_of_recent
from annals.agents.reading.snapshots.kept import KeptSnapshots
from annals.agents.reading.snapshots.policy import SnapshotPolicy
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from annals.agents.ports import Clock
    from annals.agents.reading.found import (
        AggregatePage,
        EventFilter,
        EventPage,
        FoundEvent,
        FoundState,
        JournalEvent,
        JournalRun,
        KeptSnapshot,
        Rebuilds,
        RowPage,
        ShardStatus,
        SnapshotNumbers,
    )
    from annals.agents.reading.keeping.recent_events import RecentEvents
    from annals.agents.reading.keeping.states import States
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.queries.events import Place

    AskRows = Callable[[ReadView, Place, str, int, Sequence[Mapping[str, str]], bytes | None, int], RowPage]

T = TypeVar("T")

BY_HAND: Final = SnapshotPolicy()
CLEANED_AT_ONCE: Final = 1_000
SWEEP_S: Final = 600.0  # between two times that former snapshots are removed
COUNTED_S: Final = SWEEP_S  # for so long the snapshots that were counted are answered again: counting reads them all

log = structlog.get_logger(__name__)


class Answers(ABC):
    """The questions of the `ReadingShard` port."""

    def __init__(
        self,
        place: Place,
        states: States,
        ask_rows: AskRows | None,
        clock: Clock,
        policy: SnapshotPolicy = BY_HAND,
        recent: RecentStates | None = None,
    ) -> None:
        """Take whose rows these are, how states and rows of projections are read, and the clock.

        policy: when and how long snapshots are kept; recent: states in memory.
        """
        self._place = place
        self._clock = clock
        self._states = states
        self._policy = policy
        self._kept = KeptSnapshots(place.kind, states.parts, states.version, recent or RecentStates(0))
        self._counted: tuple[float, SnapshotNumbers] | None = None
        self._pace = Pace()
        self._ask_rows = ask_rows
        self._recent: RecentEvents | None = None  # of what was folded last, where anything is

    def _forget_recent(self) -> None:
        if self._recent is not None:
            self._recent.close()
            self._recent = None

    @property
    def kind(self) -> str:
        """The kind of the journal."""
        return self._place.kind

    @property
    def partition(self) -> int:
        """The journal partition."""
        return self._place.partition

    @property
    def is_whole(self) -> bool:
        """Whether all of the journal is known up to where it was read: a shard reads it from the beginning."""
        return True

    def expect(self, offsets: Iterable[int]) -> None:
        """Take from where the journal is going to be read on."""
        del offsets  # a shard reads all of it

    @abstractmethod
    def status(self) -> ShardStatus:
        """Return where the shard stands."""

    @abstractmethod
    def _offset(self) -> int:
        """Return the offset below which everything is read."""

    @abstractmethod
    def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Write rows that no follower folds, beside the batches."""

    @abstractmethod
    async def _ask(self, question: Callable[[ReadView], T], *, in_thread: bool = True) -> T:
        """Return the answer to a question; in a thread unless it is short."""

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet)."""
        key = aggregate_id.encode()
        return await self._ask(lambda view: of_events.offset_of(view, key, version), in_thread=False)

    async def state(
        self, aggregate_id: str, *, version: int | None = None, at: datetime | None = None
    ) -> FoundState | None:
        """Return an aggregate now, at a version, or by the events up to a time (inclusive); None if there is none."""
        key = aggregate_id.encode()
        return await self._ask(
            lambda view: of_aggregates.state(view, self._place, self._states, self._kept, key, version, at),
            in_thread=version is not None or at is not None,
        )

    async def history(
        self, aggregate_id: str, *, first: int, last: int | None, descending: bool, limit: int | None
    ) -> list[FoundEvent]:
        """Return an aggregate's events from one version to another, both inclusive."""
        key = aggregate_id.encode()
        return await self._ask(
            lambda view: of_events.history(view, self._place, key, first, last, descending=descending, limit=limit)
        )

    async def find(self, wanted: EventFilter, *, start: int | None, descending: bool, limit: int) -> EventPage:
        """Return events by type, correlation and so on.

        What was folded lately is in memory. Out of the store it is found in a thread, which has its turn after some
        milliseconds while events are folded.
        """
        recent = self._recent
        if recent is not None and start is not None and not descending:
            page = await self._ask(
                lambda view: find_recent(recent, view, self._place, wanted, start=start, limit=limit), in_thread=False
            )
            if page is not None:
                return page
        return await self._ask(
            lambda view: find(view, self._place, wanted, start=start, descending=descending, limit=limit)
        )

    async def events_from(self, offset: int, limit: int) -> JournalRun:
        """Return the next events that count, from an offset on."""
        read = self._offset()  # before the view is made: what is below it is in the view
        recent = self._recent
        run = None if recent is None else run_of_recent(recent, offset, limit, read)
        if run is not None:
            return run
        return await self._ask(lambda view: run_from(view, self._place, offset, limit, read))

    async def event_at(self, offset: int) -> JournalEvent | None:
        """Return the event that counts at an offset; None if there is none."""
        run = await self.events_from(offset, 1)
        return run.events[0] if run.events and run.events[0].offset == offset else None

    async def events_at(self, offsets: Sequence[int]) -> dict[int, JournalEvent]:
        """Return the events that count at some offsets; where they are large, not all of them."""
        return await self._ask(lambda view: events_at(view, self._place, offsets))

    async def placed(self, offset: int, limit: int) -> list[tuple[int, bytes]]:
        """Return where the next events that count are, from an offset on, and their CIDs."""
        return await self._ask(lambda view: placed_from(view, offset, limit))

    async def last_before(self, offset: int) -> bytes | None:
        """Return the CID of the last event that counts below an offset; None if there is none.

        Raises:
            NotReadyError: it has not read up to there, or no longer has: the store was lost and is built anew.
        """
        if self._offset() < offset:
            raise NotReadyError(f"{self.kind}-{self.partition} was read up to offset {self._offset()}, not to {offset}")
        recent = self._recent
        event = None if recent is None else recent.last_before(offset)
        return event.cid if event else await self._ask(lambda view: last_before(view, offset), in_thread=False)

    async def by_cid(self, cid: bytes) -> FoundEvent | None:
        """Return the event of a CID."""
        return await self._ask(lambda view: of_events.by_cid(view, self._place, cid), in_thread=False)

    async def place_of(self, cid: bytes) -> int | None:
        """Return the offset of an event that counts; None if it is not in what was read."""
        found = await self.by_cid(cid)
        return None if found is None else found.offset

    async def aggregates(
        self, *, status: str | None, since: datetime | None, until: datetime | None, after: str | None, limit: int
    ) -> AggregatePage:
        """Return a page of aggregates by id, behind `after`; since, until: of the last event."""
        read = self._offset()  # before the view is made: what is below it is in the view
        page = await self._ask(
            lambda view: of_aggregates.aggregates(
                view, self._states, self._kept, status=status, since=since, until=until, behind=after, limit=limit
            )
        )
        return replace(page, offset=max(page.offset or 0, read))  # behind the last record are markers alone

    async def snapshots(
        self, aggregate_id: str, *, behind: int | None, descending: bool, limit: int
    ) -> list[KeptSnapshot]:
        """Return an aggregate's kept snapshots by version, behind one; descending: the newest first."""
        key = aggregate_id.encode()
        return await self._ask(lambda view: self._kept.listed(view, key, behind, limit, descending=descending))

    async def keep_snapshot(self, aggregate_id: str) -> KeptSnapshot | None:
        """Keep the state that an aggregate has now; None if there is no such aggregate."""
        key = aggregate_id.encode()
        found = await self._ask(lambda view: of_aggregates.newest(view, self._place, self._states, self._kept, key))
        if found is None:
            return None
        shown, folded = found
        created_at = recorded_at(self._clock.now())
        kept, rows = self._kept.rows_of(key, shown.version, shown.head, folded, created_at)
        self._write_snapshots(rows)
        return kept

    async def drop_snapshot(self, aggregate_id: str, version: int) -> bool:
        """Remove a kept snapshot; False if there was none."""
        rows = await self._ask(lambda view: self._kept.removal(view, aggregate_id.encode(), version), in_thread=False)
        if rows:
            self._write_snapshots(rows)
        return bool(rows)

    def _write_snapshots(self, rows: Mapping[bytes, bytes | None]) -> None:
        self._write(rows)
        self._counted = None

    async def sweep(self) -> None:
        """Remove what the policy of snapshots keeps no longer, now and then, until the task is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                removed = await self.clean_snapshots()
            except (NotReadyError, StoreError):
                continue
            if removed:
                log.info("former snapshots removed", kind=self.kind, partition=self.partition, snapshots=removed)

    async def clean_snapshots(self) -> int:
        """Remove the snapshots that the policy keeps no longer; return how many there were."""
        keep, oldest = self._policy.keep, self._policy.oldest(self._clock.now())
        if not keep and oldest is None:
            return 0
        rows = await self._ask(lambda view: self._kept.outdated(view, keep, oldest))
        keys = iter(rows)
        while some := list(islice(keys, CLEANED_AT_ONCE)):
            self._write_snapshots(dict.fromkeys(some))
        return len(rows) // 2

    async def numbers(self) -> ShardNumbers:
        """Return what the partition has."""
        now = self._clock.monotonic()
        counts = await self._ask(read_counts, in_thread=False)
        if self._counted is None or now - self._counted[0] > COUNTED_S:
            self._counted = now, await self._ask(self._kept.numbers)
        snapshots = replace(self._counted[1], hits=self._kept.hits, misses=self._kept.misses)
        return ShardNumbers(*counts, *self._pace.measure(now), snapshots)

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
        ask_rows = self._ask_rows
        if ask_rows is None:
            raise VersionMissingError(f"there is no projection {projection!r} here")
        # From before the rows are looked at: what is read meanwhile may not be in them.
        status, title = self.status(), follower_name(projection, version)

        page = await self._ask(
            lambda view: ask_rows(view, self._place, projection, version, (index, *also), after, limit)
        )
        page = replace(page, rebuilds=with_reason(page.rebuilds, title, status.stale))
        reason = why_behind(status, title)
        if reason not in {None, STANDBY} or page.stale is not None:
            return replace(page, stale=reason or page.stale)
        # Behind the last record are markers alone.
        position = page.position._replace(offset=max(page.position.offset, status.offset))
        return replace(page, position=position, stale=reason)


def with_reason(rebuilds: Rebuilds | None, title: str, stale: Mapping[str, str]) -> Rebuilds | None:
    """Return what was built anew of a version with why it goes on no further, of what its followers say."""
    if rebuilds is None:
        return None
    prefix = aggregates_name(title) + "/"
    not_done = {int(name[len(prefix) :]): reason for name, reason in stale.items() if name.startswith(prefix)}
    return replace(rebuilds, failed=stale.get(rebuilds.beside or ""), not_done=not_done)
