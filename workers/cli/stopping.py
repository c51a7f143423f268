"""How commands hear that they are to end: while they are being loaded, and where something is to be put in order."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from annals.workers.cli.failures import DONE
from annals.workers.cli.output import OutputError, flush, print_nothing_more

if TYPE_CHECKING:
    from collections.abc import Coroutine

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def end_at_once_on_signals(*more: signal.Signals, status: int = DONE) -> None:
    """End by a status, until what runs has handlers of its own.

    Nothing has been begun or printed. An exception would be raised wherever the import stands: one in a callback of the
    interpreter is printed and forgotten, and the stop with it, and a native module may not be ready for one.
    """
    for number in (*STOP_SIGNALS, *more):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP under nohup
            signal.signal(number, lambda *_: os._exit(status))


def interrupt_on_signals() -> None:
    """End in order however it is asked to: as after a Ctrl-C, with nothing left behind."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


async def until_told_to_end(printing: Coroutine[Any, Any, Any]) -> None:
    """Print what comes until Ctrl-C or SIGTERM, or until nobody reads it any more: `annals subscribe NAME | head`."""
    task = asyncio.create_task(printing)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    await asyncio.wait([task])
    try:
        if not task.cancelled():
            task.result()
        flush()
    except OutputError as error:
        if not error.is_reader_gone:
            raise
        print_nothing_more()
