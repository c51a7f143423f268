"""How long code that is not ours may take: it runs in the event loop, where nothing else goes on meanwhile.

A fold, or a reaction, that never comes back would take questions, publishing and the membership of the group with it.
A thread looks now and then whether the same piece of code still runs, and has it ended by a signal: to set an alarm for
each piece would cost more than most of them take.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, Final

LONGEST_S: Final = 5.0  # twice, and a few at once, within the session of the group, which is 30 s
LOOK_S: Final = 0.25
SIGNAL: Final = signal.SIGVTALRM  # nobody else has a use for it


class TookTooLongError(Exception):
    """It was ended in the midst of what it did."""


class limited:  # noqa: N801 - it is used as a function is; one that is a generator takes five times as long
    """Ends what runs in this context when it has taken too long; by default after `LONGEST_S`.

    In the main thread alone, where signals are handled. A machine that stalls makes everything slow: try again once
    before it is believed. What never returns to Python from code in C cannot be ended.

    Raises:
        TookTooLongError: it took longer.
    """

    __slots__ = ("_former", "_is_watched", "_longest_s")

    def __init__(self, longest_s: float | None = None) -> None:
        """Take the seconds."""
        self._longest_s = LONGEST_S if longest_s is None else longest_s

    def __enter__(self) -> None:
        """Begin."""
        self._is_watched = threading.get_ident() == threading.main_thread().ident
        if self._is_watched:
            self._former = _WATCH.begin(self._longest_s)

    def __exit__(self, *_: object) -> None:
        """End in time."""
        if self._is_watched:
            _WATCH.longest_s = self._former


class _Watch:
    """Ends a piece of code that still runs after as many looks as its time has.

    Looks are counted, not seconds: while the process is frozen, nobody looks.
    """

    def __init__(self) -> None:
        self.longest_s: float | None = None  # None: nothing runs
        self._piece = 0
        self._late = 0
        self._thread: threading.Thread | None = None

    def begin(self, longest_s: float) -> float | None:
        if self._thread is None:
            signal.signal(SIGNAL, self._end)
            thread = threading.Thread(target=self._look, name="time limits", daemon=True)
            thread.start()  # where the machine gives none, the next piece tries again
            self._thread = thread
        former, self.longest_s = self.longest_s, longest_s
        self._piece += 1
        return former

    def forget(self) -> None:
        """Begin anew in a process that was forked: threads stay behind."""
        self._thread, self.longest_s = None, None

    def _look(self) -> None:
        main = threading.main_thread().ident
        piece = looks = 0
        while main is not None:
            time.sleep(LOOK_S)
            longest_s = self.longest_s
            if longest_s is None or piece != self._piece:
                piece, looks = self._piece, 0
                continue
            looks += 1
            if looks * LOOK_S >= longest_s:
                self._late = piece
                signal.pthread_kill(main, SIGNAL)

    def _end(self, *_: Any) -> None:
        longest_s = self.longest_s
        if longest_s is not None and self._late == self._piece:
            self.longest_s = None  # once: this may come while the piece ends
            raise TookTooLongError(f"it took longer than {longest_s:g} s")


_WATCH: Final = _Watch()
os.register_at_fork(after_in_child=_WATCH.forget)
