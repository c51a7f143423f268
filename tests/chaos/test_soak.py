"""Everything at once, at random: some seconds in CI, minutes by `make chaos`, which writes bench/CHAOS.md."""

import os
import secrets
from pathlib import Path

import pytest
from chaos_proxy import Proxy
from chaos_report import written
from chaos_scenario import Scenario, assert_clean
from chaos_soak import Soak
from chaos_truncation import KIND

from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]

SECONDS = float(os.environ.get("ANNALS_TEST_SOAK_SECONDS", "20"))
SEED = int(os.environ.get("ANNALS_TEST_SOAK_SEED", "1"))
WRITTEN_FROM_S = 60.0
PARTITIONS = 4
SETTLED_WITHIN_S = 120.0 + SECONDS / 2
REPORT = Path(__file__).parents[2] / "bench" / "CHAOS.md"


@pytest.mark.timeout(0)
def test_faults_at_random_lose_double_fork_and_tear_nothing(chaos_broker: Broker, proxy: Proxy, tmp_path: Path) -> None:
    prefix = f"s{secrets.token_hex(4)}."
    with Scenario(chaos_broker.bootstrap, prefix, tmp_path, timeout_ms=8_000, apart=(KIND,)) as scenario:
        scenario.make_topics(PARTITIONS)
        soak = Soak(scenario, chaos_broker, proxy, SEED, PARTITIONS)
        soak.run(SECONDS)
        scenario.sender.flush()
        report = scenario.until_answered(SETTLED_WITHIN_S)
        if SECONDS >= WRITTEN_FROM_S:
            written(REPORT, SECONDS, SEED, scenario.sender.states(), soak.faults, report)
        assert_clean(report)
