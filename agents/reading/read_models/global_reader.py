"""Follows all journal partitions of global projections, and answers with their rows (the `RowSource` port).

As a reading shard: a store is believed if the last record of each partition is in the journal where the store says; any
other is built anew. A gap stops its partition alone. `run` is the only one that writes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import thread_time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from annals.agents.backoff import Backoff
from annals.agents.folding.damage import DamagedStores
from annals.agents.folding.turns import TurnLength, turns
from annals.agents.ports import DamagedBatchError, StoreDamagedError, StoreError
from annals.agents.reading.following.answers import with_reason
from annals.agents.reading.following.shard import FIRST_RETRY_S, LAST_RETRY_S
from annals.agents.reading.found import RowPage, ShardPosition
from annals.agents.reading.gathering.rows import VERSION_MISSING, GatheredRows, gathered, keys_of
from annals.agents.reading.keeping.open_store import OpenStore, is_fold_of
from annals.agents.reading.ports import BrokenChainError, NotReadyError, VersionMissingError
from annals.agents.reading.projecting.builds import read_answering
from annals.agents.reading.projecting.rows import follower_name
from annals.agents.reading.projecting.versions import newest, nowhere_behind
from annals.agents.reading.queries.events import Place
from annals.agents.reading.queries.rows import RowReader, find_tree
from annals.agents.reading.read_models.global_fold import GlobalFold, PartView, missing_of, prefix_of
from annals.agents.reading.read_models.journal_positions import JournalPositions
from annals.schemas.journal_reader import GapError
from annals.schemas.values.moments import unix_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.damage import DamageCounter
    from annals.agents.ports import Clock, JournalRecord
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.found import FoundRow
    from annals.agents.reading.gathering.rows import Keys
    from annals.agents.reading.ports import (
        Journals,
        Key,
        ReadingStore,
        ReadingStores,
        ReadView,
    )
    from annals.schemas.projection_record import ProjectionRecord

    Page = tuple[list[FoundRow], bool, bytes | None]  # whether there are no more, and up to where there are no other

T = TypeVar("T")

POLL_S: Final = 0.2


class GlobalReader:
    """Folds global projections in this process. partitions: kind -> how many there are."""

    def __init__(
        self,
        projections: Mapping[str, Sequence[Projection[Any]]],
        partitions: Mapping[str, int],
        deciders: Mapping[str, Decider[Any]],
        records: Callable[[], Mapping[str, ProjectionRecord] | None],
        stores: ReadingStores,
        journals: Journals,
        clock: Clock,
        telemetry: DamageCounter,
    ) -> None:
        """Take what is folded, and what is asked of the outside. records: what the topic `projections` says now.

        None while it was not read.
        """
        self._projections = projections
        self._partitions = partitions
        self._deciders = deciders
        self._records = records
        self._stores = stores
        self._journals = journals
        self._clock = clock
        self._log = structlog.get_logger(__name__)
        self._damaged = DamagedStores(stores, clock, telemetry, self._log)
        self._reader = RowReader(newest(projections), is_global=True)
        self._open_store = OpenStore(stores, "global projections", self._note_failure, self._log)
        self._fold: GlobalFold | None = None
        self.positions: Final = JournalPositions(clock)
        self._length = TurnLength()
        self._uncompared: set[Key] = set()  # of which the last record of the store is in a damaged batch
        self._reason = "not opened yet"
        self._changed = asyncio.Event()
        self._is_changed = False
        self._rebuilds: list[tuple[str, Key, str, int]] = []
        self._failure: StoreError | None = None
        self.problem: str | None = None  # where it fails again and again

    def follow(self) -> None:
        """Act on what the topic `projections` says now."""
        self._is_changed = True
        self._changed.set()

    def rebuild(self, follower: str, where: Key, aggregate_id: str, number: int) -> None:
        """Build the rows of one aggregate anew, unless it was done. number: of the rebuild."""
        self._rebuilds.append((follower, where, aggregate_id, number))
        self._changed.set()

    def resume(self, follower: str) -> None:
        """Let a follower that failed try its event again."""
        if self._fold is not None:
            self._fold.resume(follower)
            self._changed.set()

    def stale(self) -> dict[Key, dict[str, str]]:
        """Return of each partition which followers are behind, and why."""
        return {} if self._fold is None else {where: dict(fold.stale) for where, fold in self._fold.folds.items()}

    def has_reached(self, projection: Projection[Any], version: int, former: int) -> bool:
        """Whether the rows of a version are on no partition behind those of a former one.

        Raises:
            NotReadyError: the store is not open, or is damaged.
        """

        def question(view: ReadView) -> bool:
            parts = [PartView(view, prefix_of(*where)) for where in wheres]
            known = ([read_answering(part, projection.name, each) for each in (former, version)] for part in parts)
            # a partition that does not have the former version has nothing to be waited for
            return nowhere_behind((old[1].offset if old else 0, new[1].offset if new else None) for old, new in known)

        if self._fold is None:  # whether the store is a fold of these journals is not known yet
            raise NotReadyError(self._why_not())
        wheres = self._wheres(projection)
        return self._open_store.look(question, self._why_not)

    async def rows(
        self,
        projection: Projection[Any],
        version: int,
        index: Mapping[str, str],
        after: Keys | None,
        limit: int,
        also: Sequence[Mapping[str, str]] = (),
    ) -> GatheredRows:
        """Return a page of rows."""

        def question(view: ReadView, place: Place, behind: bytes | None) -> Page:
            page = self._reader(view, place, projection.name, version, (index, *also), behind, limit)
            return page.rows, page.is_end, page.until

        return await self._answer(projection, version, question, after)

    async def tree(
        self, projection: Projection[Any], version: int, parent: str, root: str, after: Keys | None, limit: int
    ) -> GatheredRows:
        """Return a page of the rows below one, at any depth."""

        def question(view: ReadView, place: Place, behind: bytes | None) -> Page:
            return find_tree(view, place, projection, version, parent, root, behind, limit)

        return await self._answer(projection, version, question, after)

    async def run(self) -> None:
        """Follow the journals until the task is cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                await self._open()
                backoff.reset()
                self.problem = None
                await self._follow()
            except StoreError as error:
                await self._store_failed(error)
            except BrokenChainError as error:  # the rows, not the journal
                await self._store_failed(StoreDamagedError(str(error)))
            except Exception as error:  # noqa: BLE001 - nothing may end it unseen
                self._log.exception("global projections failed")
                await self._leave(f"{type(error).__name__}: {error}")
            self.problem = self._why_not() if backoff.is_lasting else None
            await backoff.wait()

    async def close(self) -> None:
        """Close the store. `run` must have ended or been cancelled."""
        await self._leave("closed")

    async def _open(self) -> None:
        self._reason = "opening the store"
        bounds = await self._journals.bounds()
        self._failure = None
        store = self._open_store.store = await self._stores.open()
        fold = self._folding(store)
        self.positions.unreadable = {}
        found = {
            where: await self._is_fold(fold, where, end) for where, (_, end) in bounds.items() if where in fold.folds
        }
        self._uncompared = {where for where, is_fold in found.items() if is_fold is None}
        if others := [where for where, is_fold in found.items() if is_fold is False]:
            self._log.error(
                "the store of global projections is not a fold of these journals; reading them anew",
                journals=[
                    f"{kind}-{at} {missing_of(fold.folds[kind, at], bounds[kind, at][1])}" for kind, at in others
                ],
            )
            store = self._open_store.store = await self._stores.renew(store)
            fold = self._folding(store)
            self.positions.unreadable, self._uncompared = {}, set()
        self.positions.opened(bounds, {where: each.position.offset for where, each in fold.folds.items()})
        self._fold, self._reason = fold, ""

    def _folding(self, store: ReadingStore) -> GlobalFold:
        now_ms = unix_ms(self._clock.now())
        return GlobalFold(store, self._projections, self._partitions, self._deciders, self._records(), now_ms)

    async def _is_fold(self, fold: GlobalFold, where: Key, end: int) -> bool | None:
        """Whether the store's last record of a partition is in its journal; None: its batch is damaged."""
        try:
            return await is_fold_of(fold.folds[where].position, end, partial(self._journals.record_at, where))
        except DamagedBatchError as error:
            self.positions.note_unreadable(where, error)
            return None

    async def _follow(self) -> None:
        while (fold := self._fold) is not None:
            if self._failure is not None:
                raise self._failure
            self._change(fold)
            is_moved = await self._read_on(fold)
            if self._fold is None:
                return
            while self._catch_up(fold):
                is_moved = True
                await asyncio.sleep(0)
            if not is_moved:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._changed.wait()
                self._changed.clear()

    def _change(self, fold: GlobalFold) -> None:
        if self._is_changed:
            self._is_changed = False
            fold.follow(self._records(), unix_ms(self._clock.now()))
        while self._rebuilds:
            fold.refold(*self._rebuilds.pop(0))

    async def _read_on(self, fold: GlobalFold) -> bool:
        """Read on in each journal; return whether anything was read."""
        asked_at = self._clock.monotonic()
        ends = self.positions.now_end(await self._journals.bounds())
        is_moved = False
        for where, end in ends.items():
            is_moved |= await self._read_to(fold, where, end, asked_at)
            if self._fold is None:  # the store is left
                return False
        return is_moved

    async def _read_to(self, fold: GlobalFold, where: Key, end: int, asked_at: float) -> bool:
        """Read a journal up to the end that it had when it was asked for; return whether anything was read."""
        positions = self.positions
        start = positions.read_until[where]
        if end < start:
            positions.note_lost(where, end)
        elif where in positions.lost:  # whether what comes now goes on where it was read up to is not known
            await self._leave(f"{positions.lost[where]}; it has grown again")
            return False
        if where in self._uncompared and end >= start and not await self._is_compared(fold, where, end):
            return False
        if start >= end:  # a batch that was damaged may be cut off
            positions.caught_up(where, start, asked_at)
            return False
        if where in positions.gaps:
            return False
        # What was passed behind it and did not count may have been cut off, and others written in its place.
        position = fold.folds[where].position.offset
        try:
            async for records in self._journals.records(where, position, end):
                await self._apply(fold, where, records)
        except GapError as error:
            positions.note_gap(where, str(error))
        except DamagedBatchError as error:  # looked at again soon: another replica may lead by then
            positions.read_until[where] = max(start, fold.folds[where].position.offset)
            positions.note_unreadable(where, error)
        else:
            positions.caught_up(where, end, asked_at)
            return True
        return False

    async def _is_compared(self, fold: GlobalFold, where: Key, end: int) -> bool:
        """Whether the store's last record is the journal's: its batch could not be read before."""
        is_fold = await self._is_fold(fold, where, end)
        if is_fold is False:  # opening says so, and reads them anew
            await self._leave("the store is not a fold of these journals")
        elif is_fold:
            self._uncompared.discard(where)
        return bool(is_fold)

    async def _apply(self, fold: GlobalFold, where: Key, records: Sequence[JournalRecord]) -> None:
        for turn in turns(records, self._length):
            began = thread_time()
            fold.apply(where, turn)
            self._length.took(len(turn), thread_time() - began)
            await asyncio.sleep(0)  # questions have their turn

    def _catch_up(self, fold: GlobalFold) -> bool:
        """Do the next of what is left to do; False when nothing is."""
        began, most = thread_time(), self._length.records
        if is_behind := fold.catch_up(most):
            self._length.took(most, thread_time() - began)
        return is_behind

    async def _answer(
        self,
        projection: Projection[Any],
        version: int,
        question: Callable[[ReadView, Place, bytes | None], Page],
        after: Keys | None,
    ) -> GatheredRows:
        """Return a page. question: of a view, the place that answers for all, and behind which key they go on."""
        wheres = self._wheres(projection)
        behind = keys_of(after, len(wheres))[0]
        if self._fold is None:  # whether the store is a fold of these journals is not known yet
            return gathered(wheres, [self._why_not()] * len(wheres), 0, after)
        stale, journals = self.stale(), self.positions.known()
        follower = follower_name(projection.name, version)

        def ask(view: ReadView) -> tuple[Page, list[RowPage | str]]:
            parts = {where: PartView(view, prefix_of(*where)) for where in wheres}
            found = question(parts[wheres[0]], Place(*wheres[0]), behind)
            pages: list[RowPage | str] = []
            for where, part in parts.items():
                known = self._reader(part, Place(*where), projection.name, version, [{}], None, 0)
                reason = known.stale and stale.get(where, {}).get(follower, known.stale)
                offset = known.position.offset if reason else max(known.position.offset, journals.read_until[where])
                rebuilds = with_reason(known.rebuilds, follower, stale.get(where, {}))
                why, position = reason or journals.why_behind(where, offset), ShardPosition(*where, offset)
                pages.append(RowPage([], is_end=True, position=position, stale=why, rebuilds=rebuilds))
            return found, pages

        try:
            (rows, is_end, until), pages = await self._open_store.ask(ask, self._why_not)
        except (VersionMissingError, NotReadyError) as error:
            reason = VERSION_MISSING if isinstance(error, VersionMissingError) else str(error)
            return gathered(wheres, [reason] * len(wheres), 0, after)
        page = gathered(wheres, pages, 0, after)
        offsets = {
            at: each.position.offset for at, each in zip(wheres, pages, strict=True) if not isinstance(each, str)
        }
        lag = self.positions.lag(offsets, journals.ends)
        if last := until or (rows[-1].key if rows else None):  # the rows of all partitions have one order in one store
            page = page._replace(after=[last] * len(wheres))
        return page._replace(rows=rows, is_end=is_end, lag=lag, until=until)

    def _wheres(self, projection: Projection[Any]) -> list[Key]:
        return [(kind, at) for kind in projection.wanted for at in range(self._partitions[kind])]

    def _why_not(self) -> str:
        return f"global projections are not ready: {self._reason}"

    def _note_failure(self, error: StoreError) -> None:
        """Have `run` act on a failure of the store that a question met."""
        self._failure = error
        self._changed.set()

    async def _store_failed(self, error: StoreError) -> None:
        await self._leave(f"the store cannot be used: {error}")
        await self._damaged.set_aside(error, self._tell)

    def _tell(self, reason: str) -> None:
        self._reason = reason

    async def _leave(self, reason: str) -> None:
        """Close the store as soon as the questions to it are answered."""
        self._reason, self._fold = reason, None
        await self._open_store.close()
