"""All reading shards of a deployment, wherever they are: a partition that is not here is asked for at its owner.

Where the owner does not answer, a standby of the partition is asked, and the shard's status says so. A key's partition
comes from the number of the topic's partitions, never from who is there.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from annals.agents.reading.found import ELSEWHERE, ShardStatus, union_of
from annals.agents.reading.gathering.owner_first import LOOK_S, Told, ask_in_turn, until_any
from annals.agents.reading.gathering.questions import (
    OF_OWNERS,
    AskAggregates,
    AskByCid,
    AskDropSnapshot,
    AskFind,
    AskHistory,
    AskKeepSnapshot,
    AskNumbers,
    AskOffsetOf,
    AskRows,
    AskSnapshots,
    AskState,
    AskUntilOffset,
    AskUntilVersion,
)
from annals.agents.reading.gathering.replies import put
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.queries.events import PAGE_BYTES
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from annals.agents.reading.found import (
        AggregatePage,
        EventFilter,
        EventPage,
        FoundEvent,
        FoundState,
        KeptSnapshot,
        RowPage,
        ShardNumbers,
    )
    from annals.agents.reading.gathering.questions import Question
    from annals.agents.reading.ports import (
        Key,
        Member,
        Members,
        Reading,
        ReadingShard,
    )

    Asking = Callable[[Question, float], Awaitable[Told]]

ANSWER_S: Final = 10.0  # for questions that have no deadline of their own
MOVE_S: Final = 1.0  # how long a partition may have no owner before the question is given up
NO_STREAMS: Final[Mapping[str, str]] = MappingProxyType({})


class NotHereError(NotReadyError):
    """The worker that was asked has lost the partition, or never had it; another one may have it."""


class Peers(Protocol):
    """Asks other workers."""

    async def ask(
        self,
        member: Member,
        kind: str,
        partition: int,
        question: Question,
        deadline: float,
        *,
        standby: bool = False,
    ) -> tuple[ShardStatus, Any]:
        """Return where the shard of another worker stood, and its answer. standby: it is asked as a standby.

        Raises:
            NotHereError: it does not have the partition, or is not the member that it was taken for.
            NotReadyError: it does not answer in time, or what it answers cannot be read; or this question was passed on
                by another worker, and is not passed on again.
        """


class AllShards:
    """Reading shards of all workers (the `Shards` port)."""

    def __init__(
        self,
        reading: Reading,
        members: Members,
        peers: Peers,
        kinds: Iterable[str],
        streams: Mapping[str, str] = NO_STREAMS,
    ) -> None:
        """Take what is here, who else is there, how others are asked, and the kinds that there are.

        streams: the kind of each re-keyed stream, by `rekeyed.<name>`.
        """
        self.reading = reading
        self.members = members
        self.peers = peers
        self.kinds: Final = tuple(sorted(kinds))
        self._streams = streams

    def shard(self, kind: str, partition: int) -> RoutedShard:
        """Return the shard of a partition, wherever it is."""
        return RoutedShard(self, kind, partition)

    def of(self, kind: str, aggregate_id: str) -> RoutedShard:
        """Return the shard that an aggregate is in."""
        return self.shard(kind, partition_of(aggregate_id.encode(), self.reading.partitions(kind)))

    def all(self) -> list[RoutedShard]:
        """Return the shards of all partitions of all kinds."""
        return self.of_kinds(self.kinds)

    def of_kinds(self, kinds: Iterable[str]) -> list[RoutedShard]:
        """Return the shards of all partitions of some kinds."""
        return [self.shard(kind, partition) for kind in kinds for partition in range(self.reading.partitions(kind))]

    def journal_of(self, kind: str, partition: int) -> Key:
        """Return the journal partition whose owner answers for a partition.

        A journal's own partition; for a partition of a re-keyed stream, the one next to which it is folded.
        """
        journal = self._streams.get(kind)
        return (kind, partition) if journal is None else (journal, partition % self.reading.partitions(journal))

    def partitions(self, kinds: Iterable[str]) -> dict[str, int]:
        """Return how many partitions some kinds have."""
        return {kind: self.reading.partitions(kind) for kind in kinds}


class RoutedShard:
    """One partition's shard, here or elsewhere (the `ReadingShard` port); made for one request.

    `status` is that of the shard before its last answer.
    """

    def __init__(self, shards: AllShards, kind: str, partition: int) -> None:
        """Stand for the shard of a partition, wherever it is; shards: all of them, which know who has it."""
        self._shards = shards
        self.kind = kind
        self.partition = partition
        self._status = ShardStatus(
            kind, partition, ELSEWHERE, "not asked yet", offset=0, end=0, reached=False, lag_s=0.0, stale={}
        )
        self._satisfied: Asking | None = None

    def status(self) -> ShardStatus:
        """Return where the shard stood before its last answer."""
        return self._status

    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Wait until everything below an offset is read, over changes of the owner."""
        return await self._wait(AskUntilOffset(offset), deadline)

    async def until_version(self, aggregate_id: str, version: int, deadline: float) -> bool:
        """Wait until an aggregate has a version, over changes of the owner."""
        return await self._wait(AskUntilVersion(aggregate_id, version), deadline)

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet)."""
        offset: int | None = await self._ask(AskOffsetOf(aggregate_id, version))
        return offset

    async def state(
        self, aggregate_id: str, *, version: int | None = None, at: datetime | None = None
    ) -> FoundState | None:
        """Return an aggregate now, at a version, or by the events up to a time (inclusive); None if there is none."""
        found: FoundState | None = await self._ask(AskState(aggregate_id, version, at))
        return found

    async def history(
        self, aggregate_id: str, *, first: int, last: int | None, descending: bool, limit: int | None
    ) -> list[FoundEvent]:
        """Return an aggregate's events from one version to another, both inclusive; from elsewhere in parts.

        With a limit there are fewer where they are large.
        """
        found: list[FoundEvent] = []
        is_whole = False
        while not is_whole and (limit is None or sum(len(each.block) for each in found) < PAGE_BYTES):
            left = None if limit is None else limit - len(found)
            part, is_whole = await self._ask(AskHistory(aggregate_id, first, last, descending, left))
            found += part
            if part and descending:
                last = part[-1].event["version"] - 1
            elif part:
                first = part[-1].event["version"] + 1
        return found

    async def find(self, wanted: EventFilter, *, start: int | None, descending: bool, limit: int) -> EventPage:
        """Return events by type, correlation and so on."""
        page: EventPage = await self._ask(AskFind(wanted, start, descending, limit))
        return page

    async def by_cid(self, cid: bytes) -> FoundEvent | None:
        """Return the event of a CID."""
        found: FoundEvent | None = await self._ask(AskByCid(cid))
        return found

    async def aggregates(
        self, *, status: str | None, since: datetime | None, until: datetime | None, after: str | None, limit: int
    ) -> AggregatePage:
        """Return a page of aggregates by id, behind `after`."""
        question = AskAggregates(status, since, until, after, limit, knows_places=True)
        page: AggregatePage = await self._ask(question)
        return page

    async def snapshots(
        self, aggregate_id: str, *, behind: int | None, descending: bool, limit: int
    ) -> list[KeptSnapshot]:
        """Return an aggregate's kept snapshots by version, behind one; descending: the newest first."""
        found: list[KeptSnapshot] = await self._ask(AskSnapshots(aggregate_id, behind, descending, limit))
        return found

    async def keep_snapshot(self, aggregate_id: str) -> KeptSnapshot | None:
        """Keep the state that an aggregate has now; None if there is no such aggregate."""
        kept: KeptSnapshot | None = await self._ask(AskKeepSnapshot(aggregate_id))
        return kept

    async def drop_snapshot(self, aggregate_id: str, version: int) -> bool:
        """Remove a kept snapshot; False if there was none."""
        was_there: bool = await self._ask(AskDropSnapshot(aggregate_id, version))
        return was_there

    async def numbers(self) -> ShardNumbers:
        """Return what the partition has."""
        numbers: ShardNumbers = await self._ask(AskNumbers())
        return numbers

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
        """Return rows of a projection by its indexes (all must hold), or any of others, behind the key `after`."""
        ask = partial(AskRows, projection, version, after=after, limit=limit, knows_places=True)
        found: RowPage = await self._ask(ask(index=dict(index), also=[dict(each) for each in also]))
        if found.indexes > len(also):
            return found
        others: list[RowPage] = await asyncio.gather(*(self._ask(ask(index=dict(each))) for each in also))
        return union_of([found, *others], limit)

    async def _ask(self, question: Question, deadline: float | None = None) -> Any:
        """Put a question to who has the partition, or to a standby; where it has moved, to who has it then.

        Raises:
            NotReadyError: nobody has it, or nobody who has it answers.
        """
        now = asyncio.get_running_loop().time
        end = now() + ANSWER_S if deadline is None else deadline
        patience = min(end, now() + MOVE_S)
        while True:
            try:
                self._status, answer = await self._ask_one(question, end)
            except NotHereError:
                if now() >= patience:
                    raise
                await asyncio.sleep(min(LOOK_S, max(0.0, patience - now())))
            else:
                return answer

    async def _ask_one(self, question: Question, deadline: float) -> Told:
        if self._satisfied is not None:
            try:
                return await self._satisfied(question, deadline)
            except NotReadyError:
                self._satisfied = None
        standbys = self._standbys(question)
        if not standbys:
            return await self._ask_owner(question, deadline)
        owner = partial(self._ask_owner, question)
        return await ask_in_turn(owner, [partial(ask, question) for ask in standbys], deadline)

    async def _wait(self, question: Question, deadline: float) -> bool:
        """Wait until a shard says that it has come; who says so is asked what follows, as another may be behind."""
        self._satisfied = None
        asks: list[Asking] = [self._ask_owner, *self._standbys(question)]
        told, who = await until_any([partial(ask, question) for ask in asks], deadline)
        if told is not None:
            self._status = told.status
        if who is not None and len(asks) > 1:
            self._satisfied = asks[who]
        return who is not None

    def _standbys(self, question: Question) -> list[Asking]:
        """Return who is asked where the owner does not answer: the standby that is here first."""
        if isinstance(question, OF_OWNERS):
            return []
        reading, members = self._shards.reading, self._shards.members
        here, standing = reading.standby(self.kind, self.partition), members.standbys(self.kind, self.partition)
        if here is None and not standing:
            return []
        me = members.me
        others = [each for each in standing if me is None or each.id != me.id]
        asked: list[Asking] = [] if here is None else [partial(self._ask_here, here)]
        return asked + [partial(self._ask_there, member, standby=True) for member in others]

    async def _ask_owner(self, question: Question, deadline: float) -> Told:
        local = self._shards.reading.shard(self.kind, self.partition)
        if local is not None:
            return await self._ask_here(local, question, deadline)
        owner = self._shards.members.owner(*self._shards.journal_of(self.kind, self.partition))
        me = self._shards.members.me
        name = f"{self.kind}-{self.partition}"
        if owner is None:
            raise NotHereError(
                f"{name}: no worker has it at present (the group is rebalancing, or has none that reads)"
            )
        if me is not None and owner.id == me.id:
            raise NotHereError(f"{name}: this worker is about to open it")
        return await self._ask_there(owner, question, deadline)

    async def _ask_here(self, shard: ReadingShard, question: Question, deadline: float) -> Told:
        status = self._status = shard.status()
        try:
            return Told(status, await put(shard, question, deadline))
        except NotReadyError as error:
            reading = self._shards.reading
            if shard in {reading.shard(self.kind, self.partition), reading.standby(self.kind, self.partition)}:
                raise
            raise NotHereError(f"{self.kind}-{self.partition} has gone to another worker") from error

    async def _ask_there(self, member: Member, question: Question, deadline: float, *, standby: bool = False) -> Told:
        told = await self._shards.peers.ask(member, self.kind, self.partition, question, deadline, standby=standby)
        return Told(*told)
