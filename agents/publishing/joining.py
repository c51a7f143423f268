"""Those that come to what is live, and those that rest with it, in one journal partition.

A subscription whose subscriber answers has a writer of its own. While nothing of it is unsettled and nothing that it
wants comes, it *rests*: its progress is that of what is live, and nobody reads the journal or writes for it alone. The
publisher asks it about each event as it asks those that are live. The transaction that would take what is live past an
event that it wants says instead that it rests no more, and where it stood; then its delivery shard begins.

Whoever rests has no delivery shard and no rows, so that nobody else writes its progress: its shard has ended by itself
in this process, and a former owner's is fenced, and writes nothing when it finds its subscription at rest.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from annals.agents.ports import UnreachableError
from annals.agents.publishing.heavy import select_in_turns
from annals.agents.reading.ports import RUN_EVENTS
from annals.agents.waiting import ended
from annals.schemas.subscription import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.pace import Pace
    from annals.agents.ports import Clock
    from annals.agents.publishing.catching import CatchingUp
    from annals.agents.publishing.ports import PublishLog
    from annals.agents.publishing.roster import Roster
    from annals.agents.publishing.selection import Selected, Subscribed
    from annals.agents.publishing.share import Share
    from annals.agents.reading.found import JournalEvent
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress

    _Looked = tuple[set[Subscribed], dict[Subscribed, Progress]]

ANSWERS_LOOK_S: Final = 1.0

log = structlog.get_logger(__name__)
_position = attrgetter("position")


class Joining:
    """Finds who joins what is live, who comes to rest with it, and whom an answer wakes."""

    def __init__(
        self, source: JournalSource, decider: Decider[Any], catching: CatchingUp, clock: Clock, pace: Pace, share: Share
    ) -> None:
        """Take the journal, those that catch up or deliver, and how much a transaction may hold.

        share: of the process's time, that the journal is looked at in for those that are far behind.
        """
        self._pace = pace
        self._source = source
        self._decider = decider
        self._catching = catching
        self._clock = clock
        self._looked_at = -ANSWERS_LOOK_S
        self._share = share
        self._looking: asyncio.Task[list[_Looked]] | None = None
        self._wanting: set[Subscribed] = set()  # something of it is where it stands
        self._reached: dict[Subscribed, Progress] = {}

    async def leaving(self, writer: PublishLog, roster: Roster, live: Progress) -> dict[str, Progress]:
        """Return the progress of the subscriptions that stop to be live, stop to rest, or begin to be delivered here.

        One that begins has delivered nothing here yet (its kinds grew, or its `delivery` was `stream`), so that no
        answer that is in its topic already is meant for this partition: it reads answers from the topic's end on.
        Where the brokers do not say where that is, it reads them all, so that others need not wait for one topic.
        """
        found = roster.leaving(live)
        begins = [
            name
            for name in found
            if name not in roster.resting and roster.known[name].record.definition.delivery != STREAM
        ]
        if not begins:
            return found
        try:
            ends = await writer.answers_end(begins)
        except UnreachableError as error:
            log.warning("answers are read from their beginning", subscriptions=begins, reason=str(error))
            return found
        return found | {name: msgspec.structs.replace(found[name], acks=end) for name, end in ends.items()}

    async def joining(self, writer: PublishLog, roster: Roster, live: int) -> dict[Subscribed, list[JournalEvent]]:
        """Return those that become live now, each with the events between its progress and what is live."""
        ready = [
            each
            for each in roster.behind()
            if not each.is_delivered
            if roster.own[each.name].position == live or self._catching.has_reached(each.name)
        ]
        if not self._pace.is_full:
            ready = ready[:1]  # what joins is in one transaction
        if not ready:
            return {}
        await self._catching.fence(each.name for each in ready)
        progress = await writer.progress()
        joining: dict[Subscribed, list[JournalEvent]] = {}
        for each in ready:
            known = progress.get(each.name)
            own = roster.own[each.name]
            if known is not None and known.incarnation == own.incarnation:
                own = roster.own[each.name] = known
            if own.position > live:
                continue
            run = await self._source.events_from(own.position, self._pace.most)
            if run.next_offset < live:
                self._catching.forget(each.name)  # what is live has moved on meanwhile
                continue
            joining[each] = [event for event in run.events if event.offset < live]
        return joining

    async def resting(self, roster: Roster, live: int) -> dict[Subscribed, Progress]:
        """Return those whose delivery has ended since nothing was to do, with the progress that is to be written.

        It is one at rest where nothing comes up to what is live; not at rest, where something does: its delivery goes
        on there. The last run before what is live is looked at here; what is further back, between the steps.
        """
        self._take_up()
        known = self._catching.at_rest()
        own = {each: known[each.name] for each in roster.behind() if each.name in known}
        # What was reached may be of a look that began before a delivery which has come further.
        looked_at = {each: max(at, self._reached.get(each, at), key=_position) for each, at in own.items()}
        found = {each: looked_at.pop(each) for each in self._wanting if each in looked_at}
        near = {each: own for each, own in looked_at.items() if live - RUN_EVENTS <= own.position < live}
        if near:
            wanting, reached = await self._look(near, min, live)
            found |= {each: looked_at.pop(each) for each in wanting}
            looked_at |= reached
        at_rest = {each: own for each, own in looked_at.items() if own.position >= live}
        self._wanting = set()
        self._reached = {each: own for each, own in looked_at.items() if each not in at_rest}
        if self._reached and self._looking is None:
            self._looking = asyncio.create_task(self._look_back(dict(self._reached), live), name="look for rest")
        return found | {each: msgspec.structs.replace(own, is_resting=True) for each, own in at_rest.items()}

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return what runs."""
        return [] if self._looking is None else [self._looking]

    async def stop(self) -> None:
        """End what works beside the steps, those that catch up behind the transactions that they have under way."""
        if self._looking is not None:
            await ended(self._looking)
            self._looking = None
        await self._catching.stop()

    def _take_up(self) -> None:
        """Take note of what a look between the steps has found; raises why it could not go on."""
        if self._looking is not None and self._looking.done():
            looking, self._looking = self._looking, None
            for wanting, reached in looking.result():
                self._wanting |= wanting
                self._reached |= reached

    async def _look_back(self, far: dict[Subscribed, Progress], live: int) -> list[_Looked]:
        """Look at two runs of the journal, as all that catches up: those that are nearest come first, and the furthest.

        Each run is read once for all of them.
        """
        async with self._share.turn():
            looked = [await self._look(far, max, live)]
            far = {each: own for each, own in (far | looked[0][1]).items() if each not in looked[0][0]}
            return [*looked, await self._look(far, min, live)] if far else looked

    async def _look(
        self, behind: Mapping[Subscribed, Progress], choose: Callable[[Iterable[int]], int], live: int
    ) -> _Looked:
        """Look at one run, from a position that is chosen; return who wants something of it, and who has passed it."""
        begin = choose(own.position for own in behind.values())
        run = await self._source.events_from(begin, RUN_EVENTS)
        until = min(run.next_offset, live)
        here = {each: own for each, own in behind.items() if begin <= own.position < until}
        selected = await select_in_turns(
            [event for event in run.events if event.offset < live],
            [(each, own.position) for each, own in here.items()],
            self._decider,
        )
        wanting = {each for each in here if wanted(selected, each.name)}
        passed = {each: own for each, own in here.items() if each not in wanting}
        return wanting, {each: msgspec.structs.replace(own, position=until, cid=None) for each, own in passed.items()}

    async def answered(self, writer: PublishLog, roster: Roster) -> set[str]:
        """Return those at rest in whose topic there are answers, late or misplaced ones: now and then, none else."""
        if not roster.resting or self._clock.monotonic() - self._looked_at < ANSWERS_LOOK_S:
            return set()
        self._looked_at = self._clock.monotonic()
        names = [each.name for each in roster.at_rest()]
        try:
            ends = await writer.answers_end(names)
        except UnreachableError as error:
            log.warning("answers to those at rest are looked for later", reason=str(error))
            return set()
        # Where it is less, the topic was made anew, and what is in it was never read.
        return {name for name, end in ends.items() if end != roster.resting[name].acks}


def wanted(selected: Selected, name: str) -> bool:
    """Whether a run has something for a subscription, or something at which it cannot go on."""
    return name in selected.records or name in selected.halts
