"""What one process has once and all tests of it share: the tests of a file leave it as they found it.

What they do not give back - a signal's handler, a variable, a level of a logger - the tests of another file find, one
day in one order: these fail, or pass for it. Filters of warnings are not among it: pytest gives them back itself.
"""

import gc
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import structlog

from annals.agents.time_limit import SIGNAL

# The time limit takes its signal once, for as long as the process lives; pytest-timeout has the other one.
KEPT_SIGNALS = {SIGNAL, signal.SIGALRM}
# What runs now, as pytest says, and whether it is traced, as `conftest` says.
KEPT_VARIABLES = {"PYTEST_CURRENT_TEST", "COVERAGE_PROCESS_CONFIG"}
LOGGER = "the logger "
# Not that of open files: whatever opens stores raises it.
BOUNDS = ("RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_CORE")


def process_state() -> dict[str, Any]:
    """What there is now, by name."""
    found: dict[str, Any] = {
        "the working directory": Path.cwd(),
        "the collector": (gc.isenabled(), gc.get_threshold()),
        "the depth of recursion": sys.getrecursionlimit(),
        "the digits of an integer": sys.get_int_max_str_digits(),
        "the hook of exceptions": sys.excepthook,
        "the level below which nothing is logged": logging.root.manager.disable,
        "how structlog writes": {name: str(value) for name, value in structlog.get_config().items()},
    }
    found |= {f"the variable {name}": text for name, text in os.environ.items() if name not in KEPT_VARIABLES}
    found |= {f"the handler of {each.name}": signal.getsignal(each) for each in set(signal.Signals) - KEPT_SIGNALS}
    found |= {f"the limit {name}": resource.getrlimit(getattr(resource, name)) for name in BOUNDS}
    for name, logger in [("root", logging.root), *logging.root.manager.loggerDict.items()]:
        if isinstance(logger, logging.Logger):
            ours = [each for each in logger.handlers if not type(each).__module__.startswith("_pytest")]
            found[LOGGER + name] = logger.level, ours, logger.disabled, logger.propagate
    return found


def left_behind(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was, in order: each with what it was and what it is. New loggers come with what is imported."""
    names = before.keys() | {name for name in after if not name.startswith(LOGGER)}
    return [
        f"{name}: {before.get(name)} before, {after.get(name)} now"
        for name in sorted(names)
        if before.get(name) != after.get(name)
    ]
