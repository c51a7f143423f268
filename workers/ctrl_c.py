"""Ctrl-C reaches all processes of a terminal: those that share the work of one leave it to that one."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def left_to_this_process() -> Iterator[None]:
    """Have processes that are started meanwhile not hear it, from their first instruction on."""
    # Started with the first process otherwise, it would let that one hear it again (it unblocks what it ignores).
    resource_tracker.ensure_running()
    was = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, was)
