"""Shards that were opened from a restore point decide as all others do, whatever happened to its parts."""

from typing import Any

import mutations
import pytest
from open_histories import OPEN

from annals.agents.ports import Stored
from annals.agents.writing.restore.restoring import Restoring
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import RESTORE_FAULTS, plan_of
from annals.workers.tools.simulation.survey import survey

# Those that make restore points, and in which shards are opened from them.
SEEDS = [seed for seed in range(300) if seed not in OPEN and plan_of(seed).restore.events]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_histories_have_restore_points_and_all_that_can_become_of_them() -> None:
    found = survey(0, 60)
    assert found.failures == []
    assert set(RESTORE_FAULTS) <= set(found.counts)
    assert found.counts["restore point"] > 50
    assert found.counts["restored"] > 10


def test_two_commands_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("collecting", "restored"):
        monkeypatch.setattr(f"annals.agents.writing.restore.{module}.command_hash", lambda command: len(command) % 2)
    histories = [run(plan_of(seed)) for seed in SEEDS[:30]]
    assert [history.problems for history in histories if history.problems] == []
    assert sum(history.counts["restored"] for history in histories) > 5


def test_a_difference_from_the_journal_stops_the_shard_and_names_the_aggregate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state: Any = Restoring._state

    def other(self: Any, key: bytes, head: Any, value: bytes) -> Stored:
        found = state(self, key, head, value)
        return found._replace(state=found.state.replace(b"\xa2n", b"\xa2x"))

    monkeypatch.setattr(Restoring, "_state", other)
    problems = [problem for seed in SEEDS[:40] for problem in run(plan_of(seed)).problems]
    assert any(
        "the aggregate 'a" in problem and "differs from the journal folded in full" in problem for problem in problems
    )


@pytest.mark.parametrize("take_out", mutations.RESTORE_MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_a_history_fails(take_out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out(monkeypatch)
    assert any(run(plan_of(seed)).problems for seed in SEEDS)
