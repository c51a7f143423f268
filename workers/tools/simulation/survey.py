"""Many histories, and what is said of them: how many failed, and one digest over all their journals."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.workers.ctrl_c import left_to_this_process
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annals.workers.tools.simulation.history import History

AT_ONCE: Final = 10  # histories that a process is given


class Survey(NamedTuple):
    """What became of some seeds."""

    seeds: int
    failures: list[History]
    digest: str
    counts: Counter[str]
    commands: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the document of `annals simulate --json`."""
        failures = [{"seed": each.plan.seed, "problems": each.problems} for each in self.failures]
        return {"seeds": self.seeds, "failures": failures, "digest": self.digest}


def silent(done: int) -> None:
    """Show nothing."""
    del done


def survey(first: int, seeds: int, progress: Callable[[int], None] = silent, processes: int = 1) -> Survey:
    """Let the histories of some seeds happen; progress: is told how many are done; processes: they share the work."""
    digest, counts = hashlib.sha256(), Counter[str]()
    failures: list[History] = []
    commands, seconds = 0, 0.0
    with _histories(range(first, first + seeds), processes) as histories:
        for done, history in enumerate(histories, 1):
            digest.update(history.digest)
            counts.update(history.counts)
            commands += len(history.plan.commands)
            seconds += history.seconds
            if history.problems:
                failures.append(history)
            progress(done)
    return Survey(seeds, failures, digest.hexdigest(), counts, commands, seconds)


@contextmanager
def _histories(seeds: range, processes: int) -> Iterator[Iterator[History]]:
    """Have the histories of seeds, in the order of the seeds."""
    if processes == 1:
        yield map(_history_of, seeds)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (logging.root.manager.disable,))
    try:
        with left_to_this_process():  # all of them are started here
            histories = pool.map(_history_of, seeds, chunksize=AT_ONCE)
        yield histories
    except BaseException:
        for each in active_children():  # what they have begun takes seconds
            each.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(disabled: int) -> None:
    """Log what the parent logs, and end with it, however it ends."""
    logging.disable(disabled)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    assert parent is not None  # noqa: S101 - this one was started by it
    parent.join()
    os._exit(1)


def _history_of(seed: int) -> History:
    return run(plan_of(seed))
