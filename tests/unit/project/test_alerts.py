"""deploy/alerts.yml: what happens once is seen, also by a Prometheus that has not asked this worker before."""

import ast
import re
from pathlib import Path
from time import time
from typing import Any

import promql_parser
import pytest
import yaml
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry, generate_latest

from annals.agents.writing.shard_id import ShardId
from annals.schemas.wire.dead_letter import REASONS
from annals.workers.clock import SystemClock
from annals.workers.decision_log import DecisionLog
from annals.workers.projections.metrics import ProjectionMetrics
from annals.workers.publishing.telemetry import PartitionMetrics, PublishMetrics
from annals.workers.reacting.telemetry import ReactionMetrics, ReactorMetrics
from annals.workers.reading.telemetry import HeadStartMetrics, ReadingMetrics, ReadingShardMetrics
from annals.workers.telemetry import Metrics, ShardMetrics
from annals.workers.web.server import WebServer

ROOT = Path(__file__).parents[3]
GROUPS = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"]
EXPRESSIONS = {rule["alert"]: rule["expr"] for group in GROUPS for rule in group["rules"]}
AT_ONCE = [each for each in EXPRESSIONS.values() if re.search(r"increase\(.*\)+ > 0", each)]


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_is_promql_whose_types_fit(expression: str) -> None:
    assert re.search(r"annals_\w+|\bup\{job=\"annals\"\}", promql_parser.parse(expression).prettify())


@pytest.mark.parametrize("rule", [rule for group in GROUPS for rule in group["rules"]], ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_where_it_is_said_what_to_do(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert said["description"].endswith(".")
    page, _, section = said["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert not section or section in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


def test_the_reference_has_every_metric_that_the_code_declares() -> None:
    """Goes red where a class of metrics is not named in docs/generator/metrics.py: those of webhooks were missing."""
    declared = {
        node.args[0].value
        for source in (ROOT / "workers").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        if ast.unparse(node.func) != "ContextVar" and re.fullmatch(r"annals_[a-z_]+", str(node.args[0].value))
    }
    listed = set(re.findall(r"^\| `(annals_\w+)` \|", (ROOT / "docs/reference/metrics.md").read_text(), re.MULTILINE))
    assert len(declared) > 50
    assert declared <= listed


def test_there_is_an_alert_for_a_worker_that_is_not_ready_and_for_a_job_that_is_gone() -> None:
    assert EXPRESSIONS["AnnalsNotReady"] == "annals_ready == 0"
    assert EXPRESSIONS["AnnalsJobAbsent"] == 'absent(up{job="annals"})'


@pytest.mark.parametrize(("reasons", "value"), [([], "1.0"), (["person-0 restores"], "0.0")])
async def test_a_worker_says_in_its_metrics_whether_it_is_ready(reasons: list[str], value: str) -> None:
    server = WebServer("127.0.0.1", 0, Metrics(), lambda: reasons)
    port = await server.start()
    try:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert f"annals_ready {value}\n" in await answer.text()
    finally:
        await server.stop()


@pytest.fixture
def shard() -> tuple[Metrics, ShardMetrics]:
    metrics = Metrics()
    place = ShardId("person", "commands.person", 0, 1)
    return metrics, ShardMetrics(metrics, place, SystemClock(), DecisionLog(place, 1_000_000))


@pytest.fixture
def served(shard: tuple[Metrics, ShardMetrics]) -> dict[str, dict[str, float]]:
    """Samples of both processes of a worker that has just opened its shards: name -> labels -> value."""
    projections = CollectorRegistry()
    ProjectionMetrics(projections)
    PartitionMetrics(PublishMetrics(projections), "person", 0).parked("billing", 0)  # as a delivery shard that opens
    ReactorMetrics(ReactionMetrics(projections), "welcome", "person", 0, "hr")
    read_metrics = ReadingMetrics()
    read_metrics.invalid_records.expect("subscriptions")  # as whoever follows it
    ReadingShardMetrics(read_metrics, "person")
    HeadStartMetrics(read_metrics, "person")
    text = shard[0].text() + generate_latest(projections) + generate_latest(read_metrics.registry)
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in re.findall(r"^(annals_\w+)(?:\{(.*)\})? (\S+)$", text.decode(), re.MULTILINE):
        found.setdefault(name, {})[labels] = float(value)
    return found


@pytest.mark.parametrize("expression", AT_ONCE)
def test_what_an_alert_waits_for_is_there_before_it_happens(
    served: dict[str, dict[str, float]], expression: str
) -> None:
    for name in set(re.findall(r"annals_\w+_total", expression)):
        found = served[name]
        assert set(found.values()) == {0.0}, f"{name} begins with its first count: that is no increase"
        if "dead_letters" in name:
            assert {re.search(r'reason="(\w+)"', labels)[1] for labels in found} == set(REASONS)


@pytest.mark.parametrize("expression", AT_ONCE)
def test_what_is_counted_before_the_first_question_raises_its_alert_too(
    served: dict[str, dict[str, float]], expression: str
) -> None:
    """A store that was damaged is found while its shard opens, garbage that waited is decided in the first second."""
    counts = re.findall(r"increase\((\w+)_total(\{.*?\})?\[(\w+)\]\) > 0", expression)
    assert counts
    for name, labels, window in counts:
        count, seconds = f"{name}_total{labels}", {"10m": 600, "1h": 3600}[window]
        lately = f"({count} > 0 and time() - {name}_created < {seconds})"
        assert f" or {lately}" in expression or f" or ({count} > 0 unless {name}_total offset {window})" in expression
        assert served[f"{name}_created"].keys() == served[f"{name}_total"].keys()  # `and` compares all labels
        assert all(abs(time() - began) < 60 for began in served[f"{name}_created"].values())


def test_a_damaged_store_of_either_role_raises_an_alert() -> None:
    """Goes red where the stores of reading are left out: their counter was in no alert and on no page."""
    watched = set(re.findall(r"annals_\w+_total", EXPRESSIONS["AnnalsStoreDamaged"]))
    assert watched == {"annals_stores_damaged_total", "annals_reading_stores_damaged_total"}


@pytest.mark.parametrize("met", ["void", "foreign"])
def test_what_a_worker_meets_while_it_restores_is_seen_at_the_first_question(
    shard: tuple[Metrics, ShardMetrics], met: str
) -> None:
    metrics, telemetry = shard
    telemetry.folded({met: 1}, 1, 1)
    name = re.search(rf"^(annals_{met}\w+_total)\{{.*\}} 1.0$", metrics.text().decode(), re.MULTILINE)[1]
    (expression,) = [each for each in EXPRESSIONS.values() if name in each]
    assert expression.endswith(f" or ({name} > 0 unless {name} offset 10m)")
