"""What a command meets that the code of its aggregate did not foresee: told apart from what is wrong around it.

An exception of a validator, decider, `evolve` or encoder that comes again when its command is tried alone concerns that
command: it is rejected with `internal_error` and kept as a dead letter, and the others go on. Several in a row concern
all: the release is bad, and the shard stops.
"""

from __future__ import annotations

import errno
import signal
from typing import Final, NamedTuple

from annals.agents.ports import JournalError, StoppedError, StoreError

MOST_IN_A_ROW: Final = 5
"""With so many in a row the shard stops at the last one."""

NO_DEFECTS: Final = (JournalError, StoreError, MemoryError, OSError)
"""What may go wrong where stores and brokers are asked meanwhile, and says nothing of what was worked on."""

NO_THREAD: Final = "can't start new thread"  # a RuntimeError's whole text: Python has no class of its own for it
LACKING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.ENOBUFS})


class Defect(NamedTuple):
    """A command that failed: its offset, the exception's type, and the line that raised it. Never a value."""

    offset: int
    error: str
    raised_at: str


def is_of_machine(error: BaseException) -> bool:
    """Whether the machine lacks memory, files, space or threads, or somebody pressed Ctrl-C.

    One rule for commands, events, projections, reactions, subscriptions and endpoints: it is the fault of none of them,
    also where what they run has nothing but what it is given. It is tried again.
    """
    if isinstance(error, OSError):
        return error.errno in LACKING
    is_without_thread = isinstance(error, RuntimeError) and str(error) == NO_THREAD
    return is_without_thread or isinstance(error, MemoryError) or is_ctrl_c(error)


def is_ctrl_c(error: BaseException) -> bool:
    """Whether Python may have raised this for SIGINT, in whatever ran then: as in commands, and not in workers."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def is_no_defect(error: BaseException) -> bool:
    """Whether the machine failed, or a store or the brokers, where what failed asks them."""
    return isinstance(error, NO_DEFECTS) or is_of_machine(error)


def defect_of(offset: int, error: BaseException) -> Defect:
    """Return what may be told of a failure."""
    traceback = error.__traceback__
    raised_at = "unknown"
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        raised_at = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return Defect(offset, type(error).__name__, raised_at)


def stopped_by(kind: str, topic: str, partition: int, defect: Defect) -> StoppedError:
    """Return what stops a shard at a command: as many before it have failed as are put up with."""
    return StoppedError(
        f"{topic}-{partition} offset {defect.offset}: deciding a command of {kind} failed with "
        f"{defect.error} at {defect.raised_at}, and so did the {MOST_IN_A_ROW - 1} before it. This is a defect in the "
        f"code of the aggregate or of the worker; the command is kept, and is decided by a release that can: run the "
        f"one before this, or one that is mended."
    )


def told(offset: int, error: Exception) -> str:
    """Return how something failed, by its type and place: the text of an exception may have personal data."""
    _, error_type, raised_at = defect_of(offset, error)
    return f"it failed with {error_type} at {raised_at}"
