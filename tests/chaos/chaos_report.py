"""The report of a soak, for people: what was done to the workers, and what the checker found."""

import os
import platform
from collections import Counter
from importlib import metadata
from pathlib import Path

from chaos_checker import Report

LIBRARIES = ("faust-streaming", "aiokafka", "rocksdict", "confluent-kafka")


def written(path: Path, seconds: float, seed: int, sent: Counter[str], faults: Counter[str], report: Report) -> None:
    """Write the report of a run."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    states = ", ".join(f"{count} {state}" for state, count in sorted(sent.items()))
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(report.statuses.items()))
    lines = [
        "# What was done to the workers, and what was lost",
        "",
        "Written by `make chaos`. Commands arrive without pause while the faults below strike at random; then an",
        "independent checker (`tests/chaos/chaos_checker.py`) recomputes from the commands what journal, outcomes and",
        "dead letters must hold, and compares. Half-way one more kind loses the end of its journal: it must stop and",
        "be named while the others go on, and answer everything once its segment is restored.",
        "",
        f"- {seconds:.0f} seconds of faults, seed {seed}, one broker, 3 workers",
        "- 4 partitions of 2 kinds, and of the one that is cut",
        f"- {machine}, {versions}",
        f"- records sent: {sum(sent.values())} ({states})",
        f"- commands in the log: {report.commands}; events: {report.events} of {report.aggregates} aggregates",
        f"- answers: {statuses}",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(faults.items())),
        "",
        "| found | |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in report.counts().items()),
        "",
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))
