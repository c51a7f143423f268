"""One step of a publisher, worked out before any of it is written: who takes part, and what the next events lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from annals.agents.publishing.heavy import select_in_turns
from annals.agents.publishing.selection import TRANSACTION_BYTES
from annals.agents.reading.found import last_below
from annals.schemas.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.publishing.records import Outgoing
    from annals.agents.publishing.roster import Roster
    from annals.agents.publishing.selection import Halt, Subscribed
    from annals.agents.reading.found import JournalEvent


class Participants(NamedTuple):
    """The subscriptions of a step, each in one of these groups.

    live: published together; joining: live from now on, each with the events between its progress and what is live;
    resting: whose delivery has ended, with the progress to write; at_rest: looked after until something of theirs
    comes; leaving: live no longer, with the progress to write; answered: the names of those at rest who have answers.
    """

    live: list[Subscribed]
    joining: dict[Subscribed, list[JournalEvent]]
    resting: dict[Subscribed, Progress]
    at_rest: list[Subscribed]
    leaving: dict[str, Progress]
    answered: set[str]

    @property
    def want_events(self) -> bool:
        """Whether anybody of them has to be asked about events."""
        return bool(self.live or self.joining or self.resting or self.at_rest)

    def since(self, position: int, roster: Roster) -> Iterator[tuple[Subscribed, int]]:
        """Yield those that are asked about the next events, each with the offset from which on it is asked."""
        yield from ((each, position) for each in (*self.live, *self.joining))
        yield from ((each, roster.resting[each.name].position) for each in self.at_rest)
        yield from ((each, own.position) for each, own in self.resting.items() if own.is_resting)


class StepSelection(NamedTuple):
    """What the next events are to the subscriptions.

    records: by name, none empty; halts: where some cannot go on; comes: the names of those at rest for whom there is
    something, which their delivery finds again: they have neither records nor halts here. cut, last: see `Selected`.
    """

    records: dict[str, list[Outgoing]]
    halts: dict[str, Halt]
    comes: set[str]
    cut: int | None
    last: bytes | None

    def halted(self, events: Sequence[JournalEvent], live: Progress, roster: Roster) -> dict[str, Progress]:
        """Return the progress of those that cannot go on: at the event at which they stopped."""
        return {
            name: Progress(
                halt.offset,
                last_below(events, halt.offset) or (live.cid if halt.offset >= live.position else None),
                roster.known[name].record.incarnation,
            )
            for name, halt in self.halts.items()
        }


async def select_for(
    events: Sequence[JournalEvent], there: Participants, position: int, roster: Roster, decider: Decider[Any]
) -> StepSelection:
    """Return what the events from a position on are to those that take part; the records of who joins begin earlier."""
    selected = await select_in_turns(events, list(there.since(position, roster)), decider, TRANSACTION_BYTES)
    wanted = selected.records.keys() | selected.halts.keys()
    comes = {each.name for each in (*there.at_rest, *there.resting)} & wanted
    records = {name: outgoing for name, outgoing in selected.records.items() if name not in comes}
    halts = {name: halt for name, halt in selected.halts.items() if name not in comes}
    for each, earlier_events in there.joining.items():
        earlier = await select_in_turns(earlier_events, [(each, 0)], decider)
        later = [] if each.name in earlier.halts else records.get(each.name, [])
        records[each.name] = earlier.records.get(each.name, []) + later
        halts |= earlier.halts
    records = {name: outgoing for name, outgoing in records.items() if outgoing}
    return StepSelection(records, halts, comes, selected.cut, selected.last)


def to_and_from_rest(there: Participants, comes: set[str], live: Progress, roster: Roster) -> dict[str, Progress]:
    """Return the progress of those that come to rest, and of those that something wakes. comes: see `StepSelection`."""
    resting = {
        each.name: structs.replace(own, is_resting=own.is_resting and each.name not in comes)
        for each, own in there.resting.items()
    }
    woken = roster.resting.keys() & (comes | there.answered)
    return resting | {name: roster.woken(name, live) for name in woken}
