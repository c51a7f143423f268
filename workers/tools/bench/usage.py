"""What a process has taken of the machine, from Linux' /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
KIB: Final = 1024
MIB: Final = 1 << 20
AFTER_NAME: Final = ") "  # a process's name may hold blanks and parentheses; what follows the last one is numbers
USER, SYSTEM = 11, 12  # utime and stime, counted from behind the name (proc_pid_stat(5): fields 14 and 15)


class Usage(NamedTuple):
    """CPU seconds (user and system, children that have ended not counted), resident bytes now and at their highest."""

    cpu_s: float
    rss_bytes: int
    peak_bytes: int


def usage_of(pid: int) -> Usage:
    """Return what a process has taken so far.

    Raises:
        FileNotFoundError: there is no such process, or no /proc.
    """
    folder = Path("/proc") / str(pid)
    fields = (folder / "stat").read_text().rpartition(AFTER_NAME)[2].split()
    memory = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Usage(
        (int(fields[USER]) + int(fields[SYSTEM])) / TICKS_PER_S,
        _bytes(memory.get("VmRSS", "0 kB")),
        _bytes(memory.get("VmHWM", "0 kB")),
    )


def _bytes(said: str) -> int:
    return int(said.split(maxsplit=1)[0]) * KIB
