"""The shard of one partition of a re-keyed stream: it folds that into rows of a projection, and answers with them.

    opening ──► reading ◄──► stopped      events are gone, or are others: the rows answer, and say so
       ▲           │
       └───────────┴──► closed            (a damaged store is set aside, and the stream is folded anew)

Rows and the stream's position are in one write batch, so that each event is folded once. A store is gone on with if the
last event that it has is where it says, in the topic that it was folded from.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog

from annals.agents.backoff import Backoff
from annals.agents.folding.damage import DamagedStores
from annals.agents.ports import StaleStateError, StoppedError, StoreDamagedError, StoreError, UnreachableError
from annals.agents.reading.following.answers import Answers
from annals.agents.reading.following.history import is_in_place
from annals.agents.reading.following.journal_end import JournalEnd
from annals.agents.reading.following.moves import Moves
from annals.agents.reading.following.shard import FIRST_RETRY_S, LAST_RETRY_S
from annals.agents.reading.found import CLOSED, OPENING, READING, STOPPED, ReadingPhase, ShardStatus
from annals.agents.reading.keeping.open_store import OpenStore
from annals.agents.reading.keeping.states import States
from annals.agents.reading.ports import RUN_EVENTS, BrokenChainError, NotReadyError, RangedJournal
from annals.agents.reading.queries.events import Place
from annals.agents.reading.streams.rekeyed_fold import RekeyedFold
from annals.agents.waiting import first_of
from annals.schemas.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.event_keys import Rekeyed
    from annals.agents.folding.damage import DamageCounter
    from annals.agents.ports import Clock
    from annals.agents.reading.following.answers import AskRows
    from annals.agents.reading.ports import Follower, ReadingStores, ReadView
    from annals.agents.reading.streams.rekeyed import RekeyedStream

T = TypeVar("T")

LOOK_S: Final = 0.5
TOPIC_LOOK_S: Final = 5.0  # where nothing comes, between two questions whether the topic is another one


class StreamPartition(RangedJournal, Protocol):
    """A partition of a re-keyed stream."""

    async def topic_id(self) -> bytes | None:
        """Return the id that the brokers gave its topic; None where they have none.

        Raises:
            UnreachableError: the brokers do not answer.
        """


class StreamTelemetry(Protocol):
    """What is counted of a partition of a stream."""

    def standing(self, lag: int) -> None:
        """Say how many offsets the rows are behind."""

    def closed(self) -> None:
        """Forget what was said of the partition: it may be somebody else's now."""


class RekeyedShard(Answers):
    """Folds one partition of a stream (the `ReadingShard` port, of which its rows alone are asked)."""

    def __init__(
        self,
        stream: Rekeyed,
        decider: Decider[Any],
        partition: int,
        sources: Callable[[], RekeyedStream],
        journal: StreamPartition,
        stores: ReadingStores,
        clock: Clock,
        damages: DamageCounter,
        telemetry: StreamTelemetry,
        followers: Callable[[], Sequence[Follower]],
        ask_rows: AskRows,
    ) -> None:
        """Take the stream, its kind's decider, which partition this is, and what is asked of the outside.

        sources: makes what reads the partition; followers: returns what is folded when it is opened.
        """
        super().__init__(Place(stream.place, partition), States(decider), ask_rows, clock)
        self._stream = stream
        self._name = f"{stream.place}-{partition}"
        self._sources = sources
        self._source = sources()
        self._again: RekeyedStream | None = None
        self._journal = journal
        self._stores = stores
        self._followers = followers
        self._wanted: Sequence[Follower] | None = None
        self._dropped: set[str] = set()
        self._log = structlog.get_logger(__name__).bind(projection=stream.name, partition=partition)
        self._damaged = DamagedStores(stores, clock, damages, self._log)
        self._failure: StoreError | None = None
        self._open_store = OpenStore(stores, self._name, self._note_failure, self._log)
        self._telemetry = telemetry
        self._fold: RekeyedFold | None = None
        self._backoff, self._last_failure = Backoff(FIRST_RETRY_S, LAST_RETRY_S), ""
        self._phase: ReadingPhase = OPENING
        self._reason = "not opened yet"
        self._end = JournalEnd()
        self._topic_asked_at = 0.0
        self._moves = Moves(clock)
        self._woken = asyncio.Event()

    @property
    def problem(self) -> str | None:
        """Why it does not fold; None while it does, or begins to."""
        if self._phase == STOPPED:
            return f"{self._name} is not folded: {self._reason}"
        if self._backoff.is_lasting:
            return f"{self._name} begins to be folded again and again: {self._last_failure}"
        return None

    def follow(self, followers: Sequence[Follower], dropped: Sequence[str] = ()) -> None:
        """Have other projections than before; dropped: names of followers whose rows go, followed or not."""
        self._wanted = followers
        self._dropped = {*self._dropped, *dropped}
        self._woken.set()

    def followers(self) -> list[str]:
        """Return the names of all followers that have rows in the store; none while it is not open."""
        return [] if self._fold is None else self._fold.known()

    def rebuild(self, follower: str, aggregate_id: str, number: int) -> None:
        """Do nothing: rows of a stream are of keys, and are built anew together."""

    def resume(self, follower: str) -> None:
        """Let a follower that failed try its event again; or what reads the stream, where that stopped."""
        if self._fold is not None:
            self._fold.resume(follower)
        self._woken.set()

    def status(self) -> ShardStatus:
        """Return where the shard stands."""
        offset = self._offset()
        return ShardStatus(
            kind=self.kind,
            partition=self.partition,
            phase=self._phase,
            reason=self._reason,
            offset=offset,
            end=max(self._end.offset, offset),
            reached=self._fold is not None and self._end.is_reached(offset),
            lag_s=0.0,
            stale={} if self._fold is None else dict(self._fold.stale),
        )

    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Wait until everything below an offset is folded; False when it did not come.

        Raises:
            NotReadyError: the shard was closed meanwhile.
        """
        return await self._moves.until(lambda: self._offset() >= offset, deadline, self._require_here)

    async def until_version(self, aggregate_id: str, version: int, deadline: float) -> bool:
        """Refuse: a stream's partition has some events of an aggregate, and not all before them.

        Raises:
            NotReadyError: always.
        """
        del deadline
        raise NotReadyError(f"{self._name} does not tell of version {version} of {aggregate_id!r}")

    async def run(self) -> None:
        """Fold the stream until the task is cancelled; where events are gone, look again now and then."""
        while True:
            try:
                fold = await self._open()
                await self._follow(fold)
            except StoppedError as error:
                self._last_failure = str(error)
                self._stop(await self._why(error))
            except (StaleStateError, UnreachableError) as error:
                self._last_failure = str(error)
                self._log.warning("the re-keyed stream cannot be read", reason=str(error))
            except StoreError as error:
                await self._store_failed(error)
            except BrokenChainError as error:  # the rows, not the stream
                await self._store_failed(StoreDamagedError(str(error)))
            except Exception as error:  # noqa: BLE001 - nothing may end the shard unseen
                self._log.exception("the fold of a re-keyed stream failed")
                self._last_failure = f"{type(error).__name__}: {error}"
                await self._leave(self._last_failure)
            await self._backoff.wait()

    async def close(self) -> None:
        """Close the store. `run` must have ended or been cancelled."""
        await self._leave("closed")
        self._phase = CLOSED
        self._moves.tell()
        self._telemetry.closed()

    async def _open(self) -> RekeyedFold:
        """Open the store, unless it is open, and see that it was folded from this stream.

        Raises:
            StoppedError: it was not, or what it was folded from is gone.
        """
        fold = self._fold
        if fold is None:
            self._phase, self._reason, self._failure = OPENING, "opening the store", None
            store = self._open_store.store = await self._stores.open()
            wanted = self._followers() if self._wanted is None else self._wanted
            fold = self._fold = RekeyedFold(self._stream.place, self.partition, store, wanted)
        await self._require_topic(fold)
        _, end = await self._journal.bounds()
        self._end.offset = end
        position, remedy = fold.position, f"Restore it; {self._stream.begin_anew}"
        if position.offset > end:
            raise StoppedError(
                f"it was folded up to offset {position.offset}, and ends at {end}: it lost its end, or was made "
                f"anew. {remedy}"
            )
        self._source, self._again = self._sources(), None
        await self._source.until_offset(position.offset, self._clock.monotonic())
        folded = Progress(position.offset, position.last_cid or None)
        if not await is_in_place(self._source, folded):
            raise StoppedError(
                f"it was folded up to offset {position.offset}, and another event is before it now: this is another "
                f"journal. {remedy}"
            )
        self._end.opened_again(end)
        self._phase, self._reason = READING, ""
        self._moves.tell()
        return fold

    async def _follow(self, fold: RekeyedFold) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            self._change_followers(fold)
            run = await self._source.events_from(fold.position.offset, RUN_EVENTS)
            if run.next_offset > fold.position.offset:
                topic_id = await self._require_topic(fold) if run.events else None
                fold.apply(run.events, run.next_offset, topic_id)
                self._moves.tell()
            self._end.note(self._source.status().end)
            self._telemetry.standing(max(0, self._end.offset - fold.position.offset))
            has_more = await self._catch_up(fold)
            self._backoff.reset()
            if run.is_end and not has_more:
                await self._wait(fold)
            await asyncio.sleep(0)  # questions and other shards have their turn

    async def _catch_up(self, fold: RekeyedFold) -> bool:
        """Do the next of what is left to do for followers that are behind; False when nothing is."""
        if fold.turn():
            return True
        behind = fold.behind()
        if behind is None:
            self._again = None
            return fold.sweep()
        if self._again is None:
            self._again = self._sources()
        try:
            run = await self._again.events_from(behind.offset, RUN_EVENTS)
        except StoppedError as error:  # rows that have it go on
            fold.give_up(behind.name, str(error))
            self._log.error("a projection cannot be built from its stream", reason=str(error))
        else:
            fold.catch_up(behind.name, run.events, run.next_offset, is_end=run.is_end)
        return True

    async def _wait(self, fold: RekeyedFold) -> None:
        await first_of(
            self._source.until_behind(fold.position.offset),
            self._woken.wait(),
            timeout_s=LOOK_S,
        )
        self._woken.clear()
        if self._clock.monotonic() - self._topic_asked_at >= TOPIC_LOOK_S:
            await self._require_topic(fold)

    async def _require_topic(self, fold: RekeyedFold) -> bytes | None:
        """Return the id of the topic.

        Raises:
            StoppedError: it is another one than was folded; its offsets would not tell, once it is longer.
            UnreachableError: whether it is cannot be told now.
        """
        found, known = await self._journal.topic_id(), fold.topic_id
        self._topic_asked_at = self._clock.monotonic()
        if known is not None and found is None:
            raise UnreachableError(f"the brokers do not tell at present which topic {self._name} is of")
        if known not in {None, found}:
            raise StoppedError(
                f"the topic was deleted and made anew since it was folded up to offset {fold.position.offset}. "
                f"Restore it; {self._stream.begin_anew}"
            )
        return found

    def _change_followers(self, fold: RekeyedFold) -> None:
        """Do what `follow` asked for: between two batches, and by the only one who writes."""
        if self._wanted is not None:
            fold.follow(self._wanted, sorted(self._dropped))
            self._dropped.clear()
            self._wanted = None

    async def _why(self, error: StoppedError) -> str:
        """Return why it stops; a topic that was made anew is shorter, too, and is said to be another one at once."""
        try:
            if self._fold is not None:
                await self._require_topic(self._fold)
        except StoppedError as another:
            return str(another)
        except UnreachableError:
            return str(error)
        return str(error)

    def _stop(self, reason: str) -> None:
        if (self._phase, self._reason) != (STOPPED, reason):
            self._log.error("a re-keyed stream is not folded", reason=reason)
        self._phase, self._reason = STOPPED, reason
        self._moves.tell()

    def _require_here(self) -> None:
        if self._phase == CLOSED:
            raise NotReadyError(self._why_not())

    def _offset(self) -> int:
        return 0 if self._fold is None else self._fold.position.offset

    def _why_not(self) -> str:
        return f"{self._name} is {self._phase}: {self._reason}"

    async def _ask(self, question: Callable[[ReadView], T], *, in_thread: bool = True) -> T:
        if self._fold is None:
            raise NotReadyError(self._why_not())
        return await self._open_store.ask(question, self._why_not, in_thread=in_thread)

    def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Refuse: there is nothing in it but what is folded.

        Raises:
            NotReadyError: always.
        """
        del rows
        raise NotReadyError(f"{self._name} keeps rows of projections alone")

    def _note_failure(self, error: StoreError) -> None:
        self._failure = error
        self._woken.set()

    async def _store_failed(self, error: StoreError) -> None:
        self._last_failure = f"the store cannot be used: {error}"
        await self._leave(self._last_failure)
        await self._damaged.set_aside(error, self._tell)

    def _tell(self, reason: str) -> None:
        self._reason = reason

    async def _leave(self, reason: str) -> None:
        """Close the store as soon as the questions to it are answered."""
        self._phase, self._reason, self._fold = OPENING, reason, None
        self._end.ask_anew()
        await self._open_store.close()
