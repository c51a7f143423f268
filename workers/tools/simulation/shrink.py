"""Makes a plan that fails small: the fewest commands and faults with which it fails in the same way.

Source: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input (delta debugging), 2002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from annals.workers.tools.simulation.history import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.tools.simulation.plan import Plan

T = TypeVar("T")


def shrink(plan: Plan, most: int = 2_000) -> Plan:
    """Return a small plan that has a problem of the same sort; most: how many histories to try."""
    sorts = {_sort(problem) for problem in run(plan).problems}
    left = most

    def fails(smaller: Plan) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and any(_sort(problem) in sorts for problem in run(smaller).problems)

    for name in plan.weather._fields:
        calm = plan._replace(weather=plan.weather._replace(**{name: 0.0}))
        if fails(calm):
            plan = calm
    before = None
    while before != plan:  # with fewer faults, fewer commands may do, and the other way round
        before = plan
        faults = _fewest(plan.faults, lambda some, now=plan: fails(now._replace(faults=some)))  # type: ignore[misc]
        plan = plan._replace(faults=faults)
        commands = _fewest(plan.commands, lambda some, now=plan: fails(now._replace(commands=some)))  # type: ignore[misc]
        plan = plan._replace(commands=commands)
    return plan


def _sort(problem: str) -> str:
    return problem.split(":", 1)[0].split(" ", 1)[0]


def _fewest(items: Sequence[T], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Return as few of the items as still fail, in order."""
    kept = tuple(items)
    size = max(1, len(kept) // 2)
    while kept:
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if fails(fewer):
                kept = fewer
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return kept
