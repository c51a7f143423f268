"""What keeps a process that was told to stop: named when it takes long, and ended as by a kill when it takes too long.

A stop waits for much that is not this project's: Faust's services, connections, threads that look a name up. Each wait
has a bound of its own where it has one; this is the bound of all of them together, and what says which one it was. A
thread keeps it, since the event loop may be what stands still.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from types import FrameType

log = structlog.get_logger(__name__)

NAMED_AFTER_S: Final = 8.0  # the parent of a child kills it after 10
ENDED_AFTER_S: Final = 45.0
LEFT_WITHIN_S: Final = 5.0  # in which threads have to end when all else has


class Overdue(threading.Thread):
    """The time that a process has to stop, from its start on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the event loop that is to end."""
        super().__init__(name="overdue", daemon=True)
        self._loop = loop
        self._is_over = threading.Event()

    def over(self) -> None:
        """Take that all is done but for what nobody waits for."""
        self._is_over.set()

    def run(self) -> None:
        """Wait until the process ends, which ends this thread, too; if it does not, end it."""
        if not self._is_over.wait(NAMED_AFTER_S):
            log.warning("the stop takes long", waiting=waiting(self._loop))
            if not self._is_over.wait(ENDED_AFTER_S - NAMED_AFTER_S):
                self._end("the process did not stop in time, and is ended as by a kill")
        threading.Event().wait(LEFT_WITHIN_S)
        self._end("the process has stopped, and what it left does not end: it is ended as by a kill")

    def _end(self, message: str) -> None:
        log.error(message, waiting=waiting(self._loop))
        sys.stderr.flush()
        os._exit(0)  # as of every worker that was told to stop


def waiting(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return where each task of an event loop waits and each thread is, innermost last, a line each."""
    tasks = [f"{task.get_name()}: {_chain(task.get_coro())}" for task in asyncio.all_tasks(loop)]
    frames = sys._current_frames()  # noqa: SLF001 - there is no other way to other threads' frames
    own = threading.get_ident()
    threads = [
        f"thread {thread.name}: {_stack(frames[thread.ident])}"
        for thread in threading.enumerate()
        if thread.ident in frames and thread.ident != own
    ]
    return [*sorted(tasks), *threads]


def _chain(awaitable: Any) -> str:
    """Return the coroutines that a coroutine waits in, and where in each."""
    places = []
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "ag_frame", None)
        if frame is not None:
            places.append(_place(frame))
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "ag_await", None)
    return " > ".join(places)


def _stack(innermost: FrameType | None) -> str:
    places = []
    while innermost is not None:
        places.append(_place(innermost))
        innermost = innermost.f_back
    return " > ".join(reversed(places))


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname} ({os.path.basename(code.co_filename)}:{frame.f_lineno})"  # noqa: PTH119 - no path is read
