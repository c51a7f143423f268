"""Each measure of the write path is needed: without it a history fails within 500 seeds."""

from collections.abc import Callable

import mutations
import pytest

from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import plan_of

SEEDS = range(500)


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", mutations.MEASURES, ids=lambda measure: measure.__name__)
def test_without_it_a_history_fails(
    take_out: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    assert any(run(plan_of(seed)).problems for seed in SEEDS)
