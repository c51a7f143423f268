"""How far the journals of global projections were read, where they end, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from annals.agents.reading.gathering.gather import Lag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.ports import Clock, DamagedBatchError
    from annals.agents.reading.ports import Key

log = structlog.get_logger(__name__)


class Known(NamedTuple):
    """What was known when a question was asked: journals are read on while it is answered.

    read_until: below it all is read; ends: where they end; to_reach: where they ended when the store was opened;
    troubles: why a journal is not read further.
    """

    read_until: Mapping[Key, int]
    ends: Mapping[Key, int]
    to_reach: Mapping[Key, int]
    troubles: Mapping[Key, str]

    def why_behind(self, where: Key, offset: int) -> str | None:
        """Return why rows that rest on an offset are old; None if they are not."""
        end = min(self.to_reach.get(where, 0), self.ends.get(where, 0))  # a damaged end may be cut off
        indexing = f"indexing: at offset {offset} of {end}" if offset < end else None
        return self.troubles.get(where) or indexing


class JournalPositions:
    """Where the reader stands in each journal.

    gaps: where events are missing, at which it stops; lost: journals that end below where they were read up to;
    unreadable: with a damaged batch, for the time being. Each has the reason.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing known."""
        self.read_until: dict[Key, int] = {}
        self.gaps: dict[Key, str] = {}
        self.lost: dict[Key, str] = {}
        self.unreadable: dict[Key, str] = {}
        self._ends: dict[Key, int] = {}
        self._to_reach: dict[Key, int] = {}
        self._caught_up: dict[Key, float] = {}
        self._clock = clock
        self._begun = clock.monotonic()

    def opened(self, bounds: Mapping[Key, tuple[int, int]], folded: Mapping[Key, int]) -> None:
        """Begin where a store stands. bounds: of the journals; folded: up to where the store has them."""
        self.read_until = {where: max(bounds[where][0], offset) for where, offset in folded.items()}
        self.gaps, self.lost = {}, {}
        self._ends = {where: end for where, (_, end) in bounds.items()}
        self._to_reach = self._ends

    def now_end(self, bounds: Mapping[Key, tuple[int, int]]) -> Mapping[Key, int]:
        """Take where the journals end now, and return it."""
        self._ends = {where: end for where, (_, end) in bounds.items()}
        return self._ends

    def caught_up(self, where: Key, end: int, asked_at: float) -> None:
        """Take that a journal is read up to the end that it had at a time: nothing of it is unreadable."""
        self.read_until[where], self._caught_up[where] = end, asked_at
        self.unreadable.pop(where, None)

    def note_gap(self, where: Key, reason: str) -> None:
        """Take that events are missing in a journal."""
        self.gaps[where] = reason
        log.error("global projections stopped at a gap", reason=reason)

    def note_unreadable(self, where: Key, error: DamagedBatchError) -> None:
        """Take that a batch is damaged."""
        if self.unreadable.get(where) != str(error):
            self.unreadable[where] = str(error)
            log.error("a journal of global projections is damaged", reason=str(error))

    def note_lost(self, where: Key, end: int) -> None:
        """Take that a journal lost its end: its rows are kept, and may be answered until it is restored."""
        if where not in self.lost:
            kind, partition = where
            self.lost[where] = (
                f"{kind}-{partition} ends at offset {end}, and it was read up to {self.read_until[where]} before: it "
                f"lost its end, or was made anew"
            )
            log.error("a journal of global projections lost its end", reason=self.lost[where])

    def known(self) -> Known:
        """Return what is known now."""
        troubles = {**self.unreadable, **self.lost, **self.gaps}
        return Known(dict(self.read_until), self._ends, self._to_reach, troubles)

    def lag(self, answered: Mapping[Key, int], ends: Mapping[Key, int]) -> Lag:
        """Return how far offsets that were answered are behind the journals' ends."""
        left = {where: max(0, ends.get(where, 0) - offset) for where, offset in answered.items()}
        waited = [self._caught_up.get(where, self._begun) for where, offsets in left.items() if offsets]
        return Lag(sum(left.values()), self._clock.monotonic() - min(waited) if waited else 0.0)
