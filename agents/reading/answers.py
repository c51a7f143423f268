"""What may be asked of a reading shard: each question on one view of its rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from annals.agents.reading.queries import aggregates as of_aggregates
from annals.agents.reading.queries import events as of_events
from annals.agents.reading.queries.find import find
from annals.agents.reading.queries.run import last_before, run_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from annals.agents.reading.ports import (
        EventFilter,
        EventPage,
        FoundAggregate,
        FoundEvent,
        FoundState,
        JournalRun,
        ReadView,
    )
    from annals.agents.reading.queries.events import Place
    from annals.agents.reading.states import States

    FoundRows = tuple[list[tuple[bytes, dict[str, Any]]], bool]
    AskRows = Callable[[ReadView, str, int, Mapping[str, str], bytes | None, int], FoundRows]

T = TypeVar("T")


class Answers(ABC):
    """The questions of the `ReadingShard` port."""

    def __init__(self, place: Place, states: States, ask_rows: AskRows | None) -> None:
        """Take whose rows these are, and how states and rows of projections are read."""
        self._place = place
        self._states = states
        self._ask_rows = ask_rows

    @property
    def kind(self) -> str:
        """The kind of the journal."""
        return self._place.kind

    @property
    def partition(self) -> int:
        """The journal partition."""
        return self._place.partition

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
            lambda view: of_aggregates.state(view, self._place, self._states, key, version, at),
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
        """Return events by type, correlation and so on."""
        return await self._ask(
            lambda view: find(view, self._place, wanted, start=start, descending=descending, limit=limit)
        )

    async def events_from(self, offset: int, limit: int) -> JournalRun:
        """Return the next events that count, from an offset on."""
        return await self._ask(lambda view: run_from(view, self._place, offset, limit))

    async def last_before(self, offset: int) -> bytes | None:
        """Return the CID of the last event that counts below an offset; None if there is none."""
        return await self._ask(lambda view: last_before(view, offset), in_thread=False)

    async def by_cid(self, cid: bytes) -> FoundEvent | None:
        """Return the event of a CID."""
        return await self._ask(lambda view: of_events.by_cid(view, self._place, cid), in_thread=False)

    async def aggregates(
        self, *, status: str | None, since: datetime | None, until: datetime | None, after: str | None, limit: int
    ) -> tuple[list[FoundAggregate], bool]:
        """Return aggregates by id, behind `after`, and whether there were no more; since, until: of the last event."""
        return await self._ask(
            lambda view: of_aggregates.aggregates(
                view, self._states, status=status, since=since, until=until, behind=after, limit=limit
            )
        )

    async def rows(
        self, projection: str, version: int, index: Mapping[str, str], *, after: bytes | None, limit: int
    ) -> FoundRows:
        """Return rows of a local projection by its indexes: (key, row), and whether there were no more.

        Raises:
            LookupError: there is no such projection here.
        """
        ask_rows = self._ask_rows
        if ask_rows is None:
            raise LookupError(f"there is no projection {projection!r} here")
        return await self._ask(lambda view: ask_rows(view, projection, version, index, after, limit))
