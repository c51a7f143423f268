"""How commands hear that they are to end: while they are being loaded, and where something is to be put in order."""

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


def interrupt_on_signals() -> None:
    """End in order however it is asked to: as after a Ctrl-C, with nothing left behind."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def _end_at_once(*_: object) -> None:
    os._exit(DONE)
