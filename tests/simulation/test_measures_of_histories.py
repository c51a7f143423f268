"""Each measure of the write path is needed: without it a history fails within 500 seeds."""

from collections.abc import Callable

import mutations
import pytest

from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import plan_of

SEEDS = range(500)
# Where a history is known to fail, by measure, if that is not soon: tried first. After a change of plans it may be
# elsewhere, and is searched for among all.
KNOWN = {"last_event": 77, "copies": 22, "ends_asked_last": 429, "generation": 17}


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", mutations.MEASURES, ids=lambda measure: measure.__name__)
def test_without_it_a_history_fails(
    take_out: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    seeds = sorted(SEEDS, key=lambda seed: seed != KNOWN.get(take_out.__name__))
    assert any(run(plan_of(seed)).problems for seed in seeds)
