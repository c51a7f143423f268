"""Publishers in histories: whatever becomes of workers, journals and topics, subscribers get each event once."""

from typing import Any

import publishing_measures
import pytest

from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.publisher import Publisher
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import PUBLISHING_FAULTS, plan_of

OF_PUBLISHERS = ("published", "publisher stopped", "not published", "subscription stopped")
SEEDS = [seed for seed in range(1_000) if plan_of(seed).has_publishers]
# Where a history is known to fail, by measure: tried first. After a change it may be elsewhere, and is searched for.
KNOWN = {
    "fence_before_progress": 242,
    "event_of_the_progress": 108,
    "uncertain_read_again": 612,
    "progress_with_the_records": 47,
    "settled_progress": 158,
    "reached_progress": 48,
}


def test_histories_have_publishers_and_all_that_can_become_of_them() -> None:
    histories = [run(plan_of(seed)) for seed in SEEDS[:30]]
    assert [(history.plan.seed, history.problems) for history in histories if history.problems] == []
    wanted = {"published": 3_000, "publisher stopped": 20, "publisher fenced": 5, "publisher uncertain": 50}
    wanted |= dict.fromkeys(PUBLISHING_FAULTS, 5) | {"subscription stopped": 0}
    counted = {name: sum(history.counts[name] for history in histories) for name in wanted}
    assert all(counted[name] > least for name, least in wanted.items()), counted


@pytest.mark.parametrize(("of", "name"), [(Publisher, "_step"), (CatchUp, "_step")])
def test_a_failure_of_a_publisher_that_no_fault_explains_is_a_problem_though_it_would_try_again(
    of: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failed = getattr(of, name), []

    async def fail_once(self: Any, *asked: Any) -> Any:
        if not failed:
            failed.append(self)
            raise LookupError("a fault of the program")
        return await whole(self, *asked)

    monkeypatch.setattr(of, name, fail_once)
    problems = run(plan_of(SEEDS[0])).problems
    assert any(each.startswith("publisher failed: ") and "a fault of the program" in each for each in problems)


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", publishing_measures.MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_publishers_a_history_fails(
    take_out: publishing_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    seeds = sorted(SEEDS, key=lambda seed: seed != KNOWN[take_out.__name__])
    found = (problem for seed in seeds for problem in run(plan_of(seed)).problems)
    assert any(problem.startswith(OF_PUBLISHERS) for problem in found)
