"""Standbys that fold behind an owner, take over from it, and lose what it loses: the promises hold all the same."""

import pytest
import standby_measures

from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import STANDBY_FAULTS, plan_of

SEEDS = [seed for seed in range(500) if plan_of(seed).has_standbys]


def test_histories_have_standbys_and_all_that_can_become_of_them() -> None:
    histories = [run(plan_of(seed)) for seed in SEEDS[:40]]
    assert [(history.plan.seed, history.problems) for history in histories if history.problems] == []
    counted = {name: sum(history.counts[name] for history in histories) for name in STANDBY_FAULTS}
    assert min(counted.values()) > 5, counted
    assert sum(history.counts["taken over by a standby"] for history in histories) > 20
    assert sum(history.counts["standby stopped"] for history in histories) > 1


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", standby_measures.MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_standbys_a_history_fails(
    take_out: standby_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    assert any(run(plan_of(seed)).problems for seed in SEEDS)
