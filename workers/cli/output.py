"""Lines on standard output, as bytes, and what to do when nobody reads them any more."""

from __future__ import annotations

import os
import sys

from annals.workers.cli.failures import COULD_NOT_ASK


def print_line(line: bytes) -> None:
    """Print a line of UTF-8; it is seen at the next `flush`.

    Raises:
        BrokenPipeError: whoever read has seen enough.
    """
    sys.stdout.buffer.write(line + b"\n")


def flush() -> None:
    """Let what was printed be seen; see `print_line`."""
    sys.stdout.buffer.flush()


def reader_gone() -> int:
    """Print the rest into nothing, lest the end of the program fails as well; return the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return COULD_NOT_ASK
