"""docs/reference/metrics.md, from `annals.workers.telemetry` and deploy/alerts.yml."""

from __future__ import annotations

from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.telemetry import Metrics
from generator.markdown import code, fenced, table

ALERTS = Path(__file__).parents[2] / "deploy/alerts.yml"
INTRO = """# Metrics

Each worker serves them at `GET /metrics` in Prometheus' text format. A histogram has `_bucket`, `_count` and `_sum`,
and each counter and histogram a `…_created`, the time at which it began.
The names and labels are constant; beside them are the usual `process_…`, `python_info` and `python_gc_…`.
"""
ALERTING = """## Alerts

deploy/alerts.yml has these, for Prometheus:
"""


def page() -> str:
    """Return the page."""
    rows = []
    for metric in (*vars(Metrics()).values(), *vars(PublishMetrics(CollectorRegistry())).values()):
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            # What the library calls a counter's family lacks the ending that its samples have.
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(code(label) for label in metric._labelnames)  # noqa: SLF001 - there is no other way to ask
            rows.append([code(name), family.type, labels, family.documentation])
    alerts = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    parts = [INTRO, table(["metric", "type", "labels", "what"], rows), ALERTING]
    for rule in alerts:
        waits = f", for {rule['for']}" if "for" in rule else ""
        said = rule["annotations"]
        page = "../" + said["runbook_url"].removeprefix("docs/")
        parts.append(f"**{rule['alert']}** ({rule['labels']['severity']}{waits}): {said['summary']}\n")
        parts.append(f"{said['description']} [What to do]({page}).\n")
        parts.append(fenced("promql", rule["expr"]))
    return "\n".join(parts)
