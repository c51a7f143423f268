"""The fold of one partition of a re-keyed stream: rows of projections, and the stream's position in one write batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.agents.ports import Position
from annals.agents.reading.following.followers import FollowersFold
from annals.agents.reading.keeping.layout import TOPIC_ID
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.projecting.rows import title_of
from annals.schemas.journal_reader import START, Counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annals.agents.reading.found import JournalEvent
    from annals.agents.reading.ports import Follower, ReadingStore

    Events = Sequence[JournalEvent]


class RekeyedFold(FollowersFold):
    """Folds the events of a stream, which were judged by who copied them; followers catch up from the stream."""

    def __init__(self, place: str, partition: int, store: ReadingStore, followers: Sequence[Follower]) -> None:
        """Go on where the store stands. place: `rekeyed.<name>`."""
        super().__init__(partition, f"{place}, partition {partition}", store, followers)

    @property
    def topic_id(self) -> bytes | None:
        """The id of the topic whose events are folded; None: the brokers had not told it."""
        return self._store.get(TOPIC_ID)

    def apply(self, events: Events, next_offset: int, topic_id: bytes | None) -> None:
        """Fold the next events; next_offset: behind them, and behind whatever else is there. topic_id: of the topic."""
        rows, position = Overlay(self._store), self.position._replace(offset=next_offset)
        if events:
            position = Position(next_offset, events[-1].offset, events[-1].cid)
        if topic_id is not None:
            rows.put(TOPIC_ID, topic_id)
        self._write(rows, _counted(events), position)

    def catch_up(self, name: str, events: Events, next_offset: int, *, is_end: bool) -> None:
        """Hand a follower that is behind its next events, but none from where the stream was read up to.

        is_end: whether there were no more.
        """
        end = self.position.offset
        before = [event for event in events if event.offset < end]
        self.catch_up_with(name, _counted(before), end if is_end else min(next_offset, end))

    def give_up(self, name: str, reason: str) -> None:
        """Leave a follower where it is: what it has to fold next is gone."""
        self.failed.add(name)
        self._reasons[name] = f"{title_of(name)} failed on what it folds: {reason}"


def _counted(events: Iterable[JournalEvent]) -> list[Counted[Any]]:
    return [Counted(each.offset, each.event["aggregate_id"].encode(), each.event, each.cid, START) for each in events]
