"""deploy/alerts.yml: what happens once is seen, also by a Prometheus that has not asked this worker before."""

import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from annals.agents.writing.batch import Place
from annals.schemas.wire.dead_letter import REASONS
from annals.workers.clock import SystemClock
from annals.workers.decision_log import DecisionLog
from annals.workers.telemetry import Metrics, ShardMetrics

GROUPS = yaml.safe_load((Path(__file__).parents[2] / "deploy/alerts.yml").read_text())["groups"]
EXPRESSIONS = {rule["alert"]: rule["expr"] for group in GROUPS for rule in group["rules"]}
AT_ONCE = [each for each in EXPRESSIONS.values() if re.search(r"^increase\(.*\) > 0", each)]


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_is_promql_whose_types_fit(expression: str) -> None:
    assert "annals_" in promql_parser.parse(expression).prettify() or expression.startswith("up{")


@pytest.fixture
def shard() -> tuple[Metrics, ShardMetrics]:
    metrics = Metrics()
    place = Place("person", "commands.person", 0, 1)
    return metrics, ShardMetrics(metrics, place, SystemClock(), DecisionLog(place, 1_000_000))


@pytest.mark.parametrize("expression", AT_ONCE)
def test_what_an_alert_waits_for_is_there_before_it_happens(
    shard: tuple[Metrics, ShardMetrics], expression: str
) -> None:
    name = re.search(r"annals_\w+", expression)[0]
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", shard[0].text().decode(), re.MULTILINE)
    assert {count for _, count in found} == {"0.0"}, f"{name} begins with its first count: that is no increase"
    if "dead_letters" in name:
        assert {re.search(r'reason="(\w+)"', labels)[1] for labels, _ in found} == set(REASONS)


@pytest.mark.parametrize("met", ["void", "foreign"])
def test_what_a_worker_meets_while_it_restores_is_seen_at_the_first_question(
    shard: tuple[Metrics, ShardMetrics], met: str
) -> None:
    metrics, telemetry = shard
    telemetry.folded({met: 1}, 1, 1)
    name = re.search(rf"^(annals_{met}\w+_total)\{{.*\}} 1.0$", metrics.text().decode(), re.MULTILINE)[1]
    (expression,) = [each for each in EXPRESSIONS.values() if name in each]
    assert expression.endswith(f" or ({name} > 0 unless {name} offset 10m)")
