"""Many histories, and what is said of them: how many failed, and one digest over all their journals."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.tools.simulation.history import History


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


def survey(first: int, seeds: int, progress: Callable[[int], None] = silent) -> Survey:
    """Let the histories of some seeds happen; progress: is told how many are done."""
    digest, counts = hashlib.sha256(), Counter[str]()
    failures: list[History] = []
    commands, seconds = 0, 0.0
    for done, seed in enumerate(range(first, first + seeds), 1):
        history = run(plan_of(seed))
        digest.update(history.digest)
        counts.update(history.counts)
        commands += len(history.plan.commands)
        seconds += history.seconds
        if history.problems:
            failures.append(history)
        progress(done)
    return Survey(seeds, failures, digest.hexdigest(), counts, commands, seconds)
