"""The end of a process that is still being loaded: a command takes a second to import what it runs."""

from __future__ import annotations

import os
import signal
from typing import Final

from annals.workers.cli.failures import DONE

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def end_at_once_on_signals(*more: signal.Signals) -> None:
    """End by the status of a command that is done, until what runs has handlers of its own.

    Nothing has been begun or printed. An exception would be raised wherever the import stands: one in a callback of the
    interpreter is printed and forgotten, and the stop with it.
    """
    for number in (*STOP_SIGNALS, *more):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP under nohup
            signal.signal(number, _end_at_once)


def _end_at_once(*_: object) -> None:
    os._exit(DONE)
