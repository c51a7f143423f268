"""How long code that is not ours may take: it runs in the event loop, where nothing else goes on meanwhile.

A fold, or a reaction, that never comes back would take questions, publishing and the membership of the group with it.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_S: Final = 5.0  # twice, and a few at once, within the session of the group, which is 30 s
_LEAST_S: Final = 1e-6


class TookTooLongError(Exception):
    """It was ended in the midst of what it did."""


@contextmanager
def limited(longest_s: float | None = None) -> Iterator[None]:
    """End what runs in this context when it has taken too long; by default after `LONGEST_S`.

    In the main thread alone, as signals are. A process that was frozen meanwhile seems slow: try again once before it
    is believed. What never returns to Python from code in C cannot be ended.

    Raises:
        TookTooLongError: it took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    longest_s = LONGEST_S if longest_s is None else longest_s
    began = time.monotonic()

    def end(*_: Any) -> NoReturn:
        raise TookTooLongError(f"it took longer than {longest_s:g} s")

    former = signal.signal(signal.SIGALRM, end)
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, longest_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if former is None else former)
        if left_s:  # somebody else's alarm
            signal.setitimer(signal.ITIMER_REAL, max(left_s - (time.monotonic() - began), _LEAST_S), interval_s)
