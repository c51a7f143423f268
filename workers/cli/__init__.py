"""The command line: `annals` and its commands, each imported when it is asked for."""

import os
import signal
import threading
from typing import Any, Final

INTERRUPTED: Final = 130  # what a shell says of SIGINT


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit. A Ctrl-C while it is loaded, which takes a fifth of a second, shows no traceback.

    arguments: those of the command line; None: those of this process.
    """
    was = signal.getsignal(signal.SIGINT)
    is_heard = was is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if is_heard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from annals.workers.cli.group import main as run

    if is_heard:
        signal.signal(signal.SIGINT, was)
    return run(arguments)
