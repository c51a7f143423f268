"""Standbys that fold behind an owner, take over from it, and lose what it loses: the promises hold all the same."""

import pytest
import standby_measures
from reached import reached

from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import STANDBY_FAULTS, plan_of

SEEDS = [seed for seed in range(500) if plan_of(seed).has_standbys]


def test_histories_have_standbys_and_all_that_can_become_of_them() -> None:
    wanted = dict.fromkeys(STANDBY_FAULTS, 5) | {"taken over by a standby": 20, "standby stopped": 1}
    reached(map(plan_of, SEEDS), wanted, at_least=40)


@pytest.mark.parametrize("seed", [43_040, 43_870])
def test_a_journal_that_is_written_on_where_it_lost_what_did_not_count_has_no_gap(seed: int) -> None:
    assert run(plan_of(seed)).problems == []


@pytest.mark.parametrize("seed", [182, 471])
def test_a_disk_that_rots_is_not_taken_for_a_journal_that_was_cut(seed: int) -> None:
    assert run(plan_of(seed)).problems == []


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", standby_measures.MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_standbys_a_history_fails(
    take_out: standby_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    assert any(run(plan_of(seed)).problems for seed in SEEDS)
