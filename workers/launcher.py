"""Becomes the program that it is given, which then ends with the process that started it: however that ends.

Run as a file: `python launcher.py PARENT_PID [--ignore SIGNALS] PROGRAM ARGUMENT…`. The kernel is asked to kill this
process when its parent dies (prctl(2), PR_SET_PDEATHSIG; kept across execve), then the program takes its place. A
function in `subprocess`'s `preexec_fn` would do the same, but may deadlock where the parent has threads.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
IGNORE: Final = "--ignore"


def main(parent_pid: int, command: list[str]) -> None:
    """Become `command`; end at once if the parent is dead already. OSError if there is no such program."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have died before the request: then nobody would ever send the signal.
    if os.getppid() != parent_pid:
        sys.exit("the process that wanted this one is gone")
    # Python ignores this one, and what is ignored stays so across execve.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if command[0] == IGNORE:
        for number in command[1].split(","):
            signal.signal(int(number), signal.SIG_IGN)
        command = command[2:]
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
