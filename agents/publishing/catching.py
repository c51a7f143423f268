"""The subscriptions of one journal partition that catch up at present, each in a task of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.delivering.shard import DeliveryShard
from annals.agents.publishing.selection import wants_kind
from annals.agents.waiting import all_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.pace import Pace
    from annals.agents.publishing.delivering.making import DeliveryShards
    from annals.agents.publishing.ports import Kept, PublishLogs, PublishTelemetry, Subscriptions
    from annals.agents.publishing.roster import Roster
    from annals.agents.publishing.selection import Halt, Subscribed
    from annals.agents.publishing.share import Share
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress

log: Final = structlog.get_logger(__name__)

FENCED_AT_ONCE: Final = 8  # each connects to the brokers for it


class CatchingUp:
    """Begins, watches and ends what catches up."""

    def __init__(
        self,
        source: JournalSource,
        decider: Decider[Any],
        logs: PublishLogs,
        share: Share,
        telemetry: PublishTelemetry,
        delivering: DeliveryShards | None,
        pace: Pace,
        subscriptions: Subscriptions,
    ) -> None:
        """Take what all of them need; delivering: makes those whose subscribers answer; pace: of the live publisher."""
        self._pace = pace
        self._subscriptions = subscriptions
        self._delivering = delivering
        self._source = source
        self._decider = decider
        self._logs = logs
        self._share = share
        self._telemetry = telemetry
        self._running: dict[str, tuple[CatchUp | DeliveryShard, asyncio.Task[None]]] = {}
        self._reached: set[str] = set()
        self._at_rest: dict[str, Progress] = {}

    def look_after(self, behind: Mapping[Subscribed, Progress], live: Callable[[], int]) -> dict[str, tuple[Halt, int]]:
        """Begin what is behind, take note of what has ended; return those that cannot go on, and where they are."""
        halts: dict[str, tuple[Halt, int]] = {}
        for name, (catch_up, task) in list(self._running.items()):
            if not task.done():
                continue
            del self._running[name]
            if not task.cancelled() and (error := task.exception()) is not None:  # it could not be closed
                log.error("what works for a subscription failed", subscription=name, exc_info=error)
            if catch_up.halt is not None:
                halts[name] = catch_up.halt, catch_up.position
            elif catch_up.has_reached:
                self._reached.add(name)
                if isinstance(catch_up, DeliveryShard):
                    self._at_rest[name] = catch_up.own
        for subscribed, own in behind.items():
            name = subscribed.name
            is_begun = name in self._running or name in self._reached or name in halts
            if is_begun or not (subscribed.is_delivered or own.position < live()):
                continue
            if (made := self._made(subscribed, own, live)) is not None:
                self._running[name] = made, asyncio.create_task(made.run(), name=f"catch-up {name}")
        return halts

    def _made(self, subscribed: Subscribed, own: Progress, live: Callable[[], int]) -> CatchUp | DeliveryShard | None:
        pace = self._pace.beside(subscription=subscribed.name)
        if subscribed.is_delivered:
            if self._delivering is None:
                return None
            return self._delivering.shard(subscribed, own, pace, self._subscriptions)
        log = self._logs.catching_up(subscribed.name)
        return CatchUp(subscribed, own, self._source, self._decider, log, live, self._share, self._telemetry, pace)

    async def fence(self, names: Iterable[str]) -> None:
        """End what subscriptions have under way, whoever began it; return when it has ended for all of them.

        Raises:
            UnreachableError: the brokers do not answer.
        """

        async def fence_one(name: str) -> None:
            former = self._logs.catching_up(name)
            try:
                await former.fence()
            finally:
                await former.close()

        await all_of((partial(fence_one, name) for name in names), FENCED_AT_ONCE)

    def has_reached(self, name: str) -> bool:
        """Whether the rest of a subscription is one run."""
        return name in self._reached

    def beyond(self, offset: int) -> dict[str, int]:
        """Return the positions of those that have come further than an offset, by name: each reads its own progress."""
        return {name: each.position for name, (each, _) in self._running.items() if each.position > offset}

    def at_rest(self) -> dict[str, Progress]:
        """Return the progress of those whose delivery has ended because nothing is left to do: nobody writes it."""
        return dict(self._at_rest)

    def tell(self, roster: Roster) -> None:
        """Have it told of those that rest that nothing is unsettled, since no delivery shard says so.

        What was said of those that nobody asks for any more is forgotten.
        """
        for each in roster.at_rest():
            if self._delivering is not None:
                self._delivering.tell_rest(each.name)
        self._forget_unwanted(roster.known.values())

    async def notice(self, former: Mapping[str, Kept], known: Mapping[str, Kept]) -> None:
        """End those whose subscriptions are others now; of those that want nothing more, forget also what was said."""
        changed = {name: kept for name, kept in known.items() if former.get(name) != kept}
        await self.stop(changed)
        self._forget_unwanted(changed.values())

    def _forget_unwanted(self, known: Iterable[Kept]) -> None:
        kind, partition = self._source.kind, self._source.partition
        for kept in known:
            if kept.record.is_deleted or not wants_kind(kept.record, kind, partition):
                self._telemetry.deleted(kept.record.definition.name)

    def forget(self, name: str) -> None:
        """It has become live, rests, or is too far behind again."""
        self._reached.discard(name)
        self._at_rest.pop(name, None)

    def problem(self) -> str | None:
        """Return which subscription cannot be published, and why somebody has to look after it; None if none is so."""
        for name, (each, _) in self._running.items():
            why = each.problem or (f"it is published slowly: {each.trouble}" if each.trouble else None)
            if why is not None:
                return f"{self._source.kind}-{self._source.partition} for {name}: {why}"
        return None

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return what runs."""
        return [task for _, task in self._running.values()]

    async def stop(self, names: Collection[str] | None = None) -> None:
        """End some, or all, behind the transaction that each has under way."""
        stopping = [name for name in self._running if names is None or name in names]
        for name in stopping:
            self._running[name][0].stop()
        tasks = [self._running.pop(name)[1] for name in stopping]
        for name in list(self._reached if names is None else self._reached.intersection(names)):
            self.forget(name)
        await asyncio.gather(*tasks, return_exceptions=True)
