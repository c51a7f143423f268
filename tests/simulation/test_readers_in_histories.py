"""Reading shards in histories: whatever becomes of their disks and of the journals, they have what counts."""

import pytest
import reading_measures

from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import READING_FAULTS, plan_of

SEEDS = [seed for seed in range(500) if plan_of(seed).has_readers]


def test_histories_have_readers_and_all_that_can_become_of_them() -> None:
    histories = [run(plan_of(seed)) for seed in SEEDS[:40]]
    assert [(history.plan.seed, history.problems) for history in histories if history.problems] == []
    counted = {name: sum(history.counts[name] for history in histories) for name in READING_FAULTS}
    assert min(counted.values()) > 2, counted
    assert sum(history.counts["reader stopped"] for history in histories) > 10
    assert sum(history.counts["reading store damaged"] for history in histories) > 1


@pytest.mark.parametrize("seed", [0, 125])
def test_an_end_that_somebody_hides_from_a_reader_is_missed_though_no_record_comes_behind_it(seed: int) -> None:
    history = run(plan_of(seed))
    assert (history.problems, history.counts["end hidden from a reader"]) == ([], 1)


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", reading_measures.MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_readers_a_history_fails(
    take_out: reading_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    assert any(run(plan_of(seed)).problems for seed in SEEDS)
