"""Where code of a reaction fails: it is told by its event or timer, and nothing of what it did is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from annals.agents.defects import defect_of, is_of_machine
from annals.agents.time_limit import TookTooLongError, limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.reading.found import JournalEvent

T = TypeVar("T")


class ReactionFailedError(Exception):
    """A reaction cannot take what occurred; the message names it."""


class TooManyCommandsError(Exception):
    """What occurred leads to more commands than fit a transaction."""


class UnusableError(Exception):
    """What a reaction returned, or has kept, cannot be read; the message says what of it, without its values."""


def name_of(source: JournalEvent) -> str:
    """Return what messages call an event."""
    event = source.event
    return f"{event['kind']} {event['aggregate_id']!r} version {event['version']}, offset {source.offset}"


def guarded(code: Callable[[], T], where: str) -> T:
    """Return what code of the reaction makes of something; it changes nothing, and has nothing but what it is given.

    Raises:
        ReactionFailedError: it raises, or twice takes too long.
    """
    for is_last in (False, True):
        try:
            with limited():
                return code()
        except TookTooLongError as error:
            if is_last:
                raise ReactionFailedError(_failed(where, error)) from error
        except BaseException as error:
            if is_of_machine(error):
                raise
            raise ReactionFailedError(_failed(where, error)) from error
    raise AssertionError  # the last time, it was returned or raised


def _failed(where: str, error: BaseException) -> str:
    """Say what failed where, without any value: it may be personal."""
    if isinstance(error, (TookTooLongError, TooManyCommandsError, UnusableError)):
        return f"{where}: {error}"
    defect = defect_of(0, error)
    return f"{where}: {defect.error} at {defect.raised_at}"
