"""How a shard decides what waits: as much of it as there is time for, and past what the code did not foresee."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.defects import is_no_defect
from annals.agents.ports import StoppedError
from annals.agents.writing.batches.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import Clock, CommandRecord, Writes
    from annals.agents.writing.batches.decision_plan import Limits
    from annals.agents.writing.shard_id import ShardId

DECIDING_S: Final = (
    0.15  # what there is no time for waits for the next transaction; other tasks have their turn between
)


class Decided(NamedTuple):
    """A batch, what it writes, and what stops the shard once it is committed, if anything does."""

    batch: Batch
    writes: Writes
    stop: StoppedError | None


class Deciding:
    """Decides the batches of one shard, and knows how many commands in a row failed by a defect."""

    def __init__(self, decider: Decider[Any], place: ShardId, limits: Limits, clock: Clock) -> None:
        """Begin with none that failed."""
        self._decider = decider
        self._place = place
        self._limits = limits
        self._clock = clock
        self._failed_in_a_row = 0

    def decide(
        self,
        records: Sequence[CommandRecord],
        working_set: WorkingSet,
        writes: Callable[[], Writes],
        journal_end: int,
        answered: Collection[int] = frozenset(),
    ) -> Decided:
        """Decide the records as one batch: all, or as many as there is time for.

        answered: the offsets of commands that have their copy or dead letter already.

        Raises:
            StoppedError: not even the first of them can be answered.
        """
        decided = self._decide(records, working_set, writes, journal_end, answered, checks_states=False)
        if not _can_encode(working_set):
            working_set.rollback()
            decided = self._decide(records, working_set, writes, journal_end, answered, checks_states=True)
        return decided

    def committed(self, batch: Batch) -> None:
        """Know that a batch is lasting."""
        self._failed_in_a_row = batch.failed_in_a_row

    def _decide(
        self,
        records: Sequence[CommandRecord],
        working_set: WorkingSet,
        writes: Callable[[], Writes],
        journal_end: int,
        answered: Collection[int],
        *,
        checks_states: bool,
    ) -> Decided:
        now = self._clock.now()
        stop: StoppedError | None = None
        while True:
            written = writes()
            batch = Batch(
                self._decider,
                working_set,
                written,
                self._place,
                self._limits,
                now,
                journal_end,
                self._failed_in_a_row,
                answered,
                checks_states=checks_states,
            )
            try:
                batch.decide(records, self._lateness())
            except StoppedError as error:
                working_set.rollback()
                if not batch.decided:
                    raise
                records, stop = records[: batch.decided], error  # those before it are answered first
            else:
                return Decided(batch, written, stop if batch.decided == len(records) else None)

    def _lateness(self) -> Callable[[], bool]:
        """Return what tells, from now on, whether the time for deciding is over."""
        end = self._clock.monotonic() + DECIDING_S
        return lambda: self._clock.monotonic() > end


def _can_encode(working_set: WorkingSet) -> bool:
    """Whether all states that a batch leads to have an encoding: behind its commit it would be too late to ask."""
    try:
        working_set.encode()
    except BaseException as error:  # which command leads there, is found out by encoding after each
        if is_no_defect(error):
            raise
        return False
    return True
