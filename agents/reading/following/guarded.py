"""What a follower does with events, guarded: it may raise anything, and take any time, and stops alone.

A store that fails, or a machine that lacks something, is nobody's fault, and is what is raised here. All else is the
follower's: it has nothing but the events and its rows. An error of memory, or of time, is believed when it comes again
on one event alone: a fold that asks for more than there can be would else hold all others up for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from annals.agents.defects import is_of_machine
from annals.agents.ports import StoreError
from annals.agents.reading.keeping.overlay import Overlay
from annals.agents.reading.ports import BrokenChainError
from annals.agents.reading.projecting.rows import RowTooLargeError, title_of
from annals.agents.time_limit import TookTooLongError, limited
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.ports import Follower, ReadView
    from annals.schemas.journal_reader import Counted


class Failure(NamedTuple):
    """The event that a follower cannot fold: its offset, and what messages say of it. Never a value."""

    offset: int
    reason: str


def fold_guarded(
    follower: Follower, events: Sequence[Counted[Any]], partition: int, view: ReadView, where: str = ""
) -> tuple[Overlay, Failure | None]:
    """Return the rows over a view that events lead to: of all of them, or of those before one that fails.

    where: the partition in messages, if it is not one of the event's journal.

    Raises:
        StoreError, OSError, RuntimeError: rows cannot be read, or the machine lacks something.
        BrokenChainError: what is read of them is not what was written.
    """
    rows = Overlay(view)
    if _error_of(follower, events, partition, rows) is None:
        return rows, None
    rows = Overlay(view)
    for counted in events:
        trial = Overlay(rows)
        error = _error_of(follower, [counted], partition, trial)
        if error is not None:
            return rows, Failure(
                counted.offset, _reason(follower.name, counted, where or f"partition {partition}", error)
            )
        rows.changes.update(trial.changes)
    return rows, None


def _error_of(
    follower: Follower, events: Sequence[Counted[Any]], partition: int, rows: Overlay
) -> BaseException | None:
    try:
        with limited():
            follower.fold(events, partition, rows)
    except (StoreError, BrokenChainError):
        raise
    except BaseException as error:  # whatever a projection raises, the others go on
        if is_of_machine(error) and not isinstance(error, MemoryError):
            raise
        return error
    return None


def _reason(name: str, counted: Counted[Any], where: str, error: BaseException) -> str:
    event = counted.event
    why = str(error) if isinstance(error, (TookTooLongError, RowTooLargeError)) else type(error).__name__
    return (
        f"{title_of(name)} failed on {event['type']} of {event['kind']} {event['aggregate_id']!r} version "
        f"{event['version']}, {where}, offset {counted.offset}, {cid_text(counted.cid)}: {why}"
    )
