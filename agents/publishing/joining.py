"""Those that come to what is live, and those that rest with it, in one journal partition.

A subscription whose subscriber answers has a writer of its own. While nothing of it is unsettled and nothing that it
wants comes, it *rests*: its progress is that of what is live, and nobody reads the journal or writes for it alone. The
publisher asks it about each event as it asks those that are live. The transaction that would take what is live past an
event that it wants says instead that it rests no more, and where it stood; then its delivery shard begins.

Whoever rests has no delivery shard and no rows, so that nobody else writes its progress: its shard has ended by itself
in this process, and a former owner's is fenced where its publisher was, before it could begin one again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from annals.agents.ports import UnreachableError
from annals.agents.publishing.selection import select

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.publishing.catching import CatchingUp
    from annals.agents.publishing.ports import PublishLog
    from annals.agents.publishing.roster import Roster
    from annals.agents.publishing.selection import Selected, Subscribed
    from annals.agents.reading.found import JournalEvent
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress

RUN_EVENTS: Final = 500
ANSWERS_LOOK_S: Final = 1.0

log = structlog.get_logger(__name__)


class Joining:
    """Finds who joins what is live, who comes to rest with it, and whom an answer wakes."""

    def __init__(self, source: JournalSource, decider: Decider[Any], catching: CatchingUp, clock: Clock) -> None:
        """Take the journal and those that catch up or deliver."""
        self._source = source
        self._decider = decider
        self._catching = catching
        self._clock = clock
        self._looked_at = -ANSWERS_LOOK_S

    async def joining(self, writer: PublishLog, roster: Roster, live: int) -> dict[Subscribed, list[JournalEvent]]:
        """Return those that become live now, each with the events between its progress and what is live."""
        ready = [
            each
            for each in roster.behind()
            if not each.is_delivered
            if roster.own[each.name].position == live or self._catching.has_reached(each.name)
        ]
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
            if (events := await self._between(own.position, live)) is None:
                self._catching.forget(each.name)  # what is live has moved on meanwhile
            else:
                joining[each] = events
        return joining

    async def resting(self, roster: Roster, live: int) -> dict[Subscribed, Progress]:
        """Return those whose delivery has ended since nothing is left to do, with the progress of their rest."""
        ended = self._catching.at_rest()
        found: dict[Subscribed, Progress] = {}
        for each in roster.behind() if ended else ():
            if (own := ended.get(each.name)) is None:
                continue
            events = await self._between(own.position, live)
            if events is None or wanted(select(events, [(each, own.position)], self._decider), each.name):
                self._catching.forget(each.name)  # it delivers again
            else:
                found[each] = msgspec.structs.replace(own, is_resting=True, cid=None)
        return found

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

    async def _between(self, position: int, live: int) -> list[JournalEvent] | None:
        """Return the events between a progress and what is live; None: that is more than a run."""
        if position >= live:
            return []
        run = await self._source.events_from(position, RUN_EVENTS)
        return None if run.next_offset < live else [event for event in run.events if event.offset < live]


def wanted(selected: Selected, name: str) -> bool:
    """Whether a run has something for a subscription, or something at which it cannot go on."""
    return name in selected.records or name in selected.halts
