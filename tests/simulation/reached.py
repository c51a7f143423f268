"""Histories that have what a test is about: a change of plans or of the product moves it to other seeds, rightly."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from annals.workers.tools.simulation.history import History, run
from annals.workers.tools.simulation.plan import Plan


def reached(plans: Iterable[Plan], wanted: Mapping[str, int], *, at_least: int = 1) -> list[History]:
    """Run `at_least` plans, and more of them until each of `wanted` was counted more often than that in all together.

    Raises AssertionError with what was counted when a history has a problem, or no plan is left.
    """
    histories: list[History] = []
    counted: Counter[str] = Counter()
    for plan in plans:
        history = run(plan)
        assert history.problems == [], plan.seed
        histories.append(history)
        counted.update({name: history.counts[name] for name in wanted})
        if len(histories) >= at_least and all(counted[name] > least for name, least in wanted.items()):
            return histories
    raise AssertionError(f"{len(histories)} histories have {dict(counted)}, wanted is more than {dict(wanted)}")


def first(plans: Iterable[Plan], has: Callable[[History], bool]) -> History:
    """Run plans until one `has` it, and return that history. Those before it are right, too."""
    for plan in plans:
        history = run(plan)
        assert history.problems == [], plan.seed
        if has(history):
            return history
    raise AssertionError("no history has it")
