"""What an open head start answers: what is in its store, from its `begin` on. What is older it says that it lacks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from annals.agents.reading.found import JournalEvent
from annals.agents.reading.keeping.layout import read_aggregate
from annals.agents.reading.keeping.open_store import OpenStore
from annals.agents.reading.ports import NotIndexedError
from annals.agents.reading.queries.events import Place, offset_of
from annals.agents.reading.queries.run import events_at, last_before, placed_from, run_from
from annals.schemas.chain import ForeignError
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.journal_reader import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from annals.agents.ports import StoreError
    from annals.agents.reading.ahead.folding import AheadFold
    from annals.agents.reading.ahead.ports import BesideStores
    from annals.agents.reading.found import JournalRun
    from annals.agents.reading.ports import RangedJournal, ReadingStore, ReadView

T = TypeVar("T")


class AheadAnswers:
    """Questions to a store beside the shard's own. fold: writes to it; failure: of the store, that a question met."""

    def __init__(
        self,
        place: Place,
        store: ReadingStore,
        stores: BesideStores,
        journal: RangedJournal,
        fold: AheadFold,
        log: FilteringBoundLogger,
    ) -> None:
        """Take the store, which is discarded at the end, and what is folded into it."""
        self._place = place
        self._journal = journal
        self._name = f"{place.kind}-{place.partition}"
        self._open_store = OpenStore(_Discarding(stores), self._name, self._fail, log)
        self._open_store.store = store
        self.fold = fold
        self.failure: StoreError | None = None

    async def close(self) -> None:
        """Remove the store as soon as the questions to it are answered, also where this is cancelled meanwhile."""
        await asyncio.shield(self._open_store.close())

    async def events_from(self, offset: int, limit: int) -> JournalRun:
        """Return the next events that count, from an offset on.

        Raises:
            NotIndexedError: they are older than what this knows.
        """
        self._require_known(offset)
        read = self.fold.read_until  # before the view is made: what is below it is in the view
        return await self._ask(lambda view: run_from(view, self._place, offset, limit, read))

    async def event_at(self, offset: int) -> JournalEvent | None:
        """Return the event at an offset; None if none is there. Whether it counts, the caller knows by its CID."""
        if offset >= self.fold.begin:
            run = await self.events_from(offset, 1)
            return run.events[0] if run.events and run.events[0].offset == offset else None
        async for records in self._journal.followed(offset, offset + 1):
            for record in records:
                try:
                    event = read_record(self._place.kind, record.key, record.value)
                except ForeignError:
                    return None
                value = record.value or b""
                return JournalEvent(record.offset, event, value, cid_of(value), record.carried)
        return None

    async def events_at(self, offsets: Sequence[int]) -> dict[int, JournalEvent]:
        """Return the events at some offsets that are in the store; where they are large, not all of them."""
        here = [offset for offset in offsets if offset >= self.fold.begin]
        return await self._ask(lambda view: events_at(view, self._place, here))

    async def last_before(self, offset: int) -> bytes:
        """Return the CID of the last event that counts below an offset.

        Raises:
            NotIndexedError: it is older than what this knows.
        """
        self._require_known(offset)
        found = await self._ask(lambda view: last_before(view, offset), in_thread=False)
        if found is None:
            raise self._not_indexed(f"the last event before offset {offset}")
        return found

    async def place_of(self, cid: bytes) -> int | None:
        """Raise NotIndexedError: an event may be before what is known."""
        raise self._not_indexed(f"event {cid_text(cid)}")

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet).

        Raises:
            NotIndexedError: it is older than what this knows.
        """
        key = aggregate_id.encode()
        found, last = await self._ask(
            lambda view: (offset_of(view, key, version), read_aggregate(view, key).version), in_thread=False
        )
        if found is None and version <= last:
            raise self._not_indexed(f"version {version} of {aggregate_id!r}")
        return found

    async def placed(self, offset: int, limit: int) -> list[tuple[int, bytes]]:
        """Return where the next events that count are, from an offset on, and their CIDs."""
        return await self._ask(lambda view: placed_from(view, offset, limit))

    async def _ask(self, question: Callable[[ReadView], T], *, in_thread: bool = True) -> T:
        return await self._open_store.ask(question, lambda: f"{self._name}: it goes on", in_thread=in_thread)

    def _require_known(self, offset: int) -> None:
        if offset < self.fold.begin:
            raise self._not_indexed(f"offset {offset}")

    def _not_indexed(self, what: str) -> NotIndexedError:
        return NotIndexedError(
            f"{self._name} is read from the beginning, and {what}, which is asked for, is before offset "
            f"{self.fold.begin}"
        )

    def _fail(self, error: StoreError) -> None:
        self.failure = error


class _Discarding:
    """Closes a store by removing it, as `OpenStore` closes it behind the last question."""

    def __init__(self, stores: BesideStores) -> None:
        self._stores = stores

    async def close(self, store: ReadingStore) -> None:
        await self._stores.discard(store)
