"""docs/reference/metrics.md, from the declared metrics and deploy/alerts.yml."""

from __future__ import annotations

from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from annals.workers.api.serving.metrics import ApiMetrics
from annals.workers.dead_letters.watch import DeadLetterMetrics
from annals.workers.kafka.read.invalid_records import InvalidRecords
from annals.workers.projections.metrics import ProjectionMetrics
from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.reacting.telemetry import ReactionMetrics
from annals.workers.reading.telemetry import ReadingMetrics
from annals.workers.rekeying.telemetry import RekeyingProjectionMetrics
from annals.workers.telemetry import Metrics
from annals.workers.webhooks.telemetry import WebhookMetrics
from generator.markdown import code, fenced, table

ALERTS = Path(__file__).parents[2] / "deploy/alerts.yml"
INTRO = """# Metrics

Each worker serves them at `GET /metrics` in Prometheus' text format. A histogram has `_bucket`, `_count` and `_sum`,
and each counter and histogram a `…_created`, the time at which it began.
The names and labels are constant; beside them are the usual `process_…`, `python_info` and `python_gc_…`.
"""
READING = """## Reading

What the role `read` has beside these. Each of its samples has the label `role="read"`, also `annals_ready`,
`annals_broker_up`, `annals_group_member` and `process_…`, which the role `write` has without it.
"""
ALERTING = """## Alerts

deploy/alerts.yml has these, for Prometheus:
"""


def page() -> str:
    """Return the page."""
    own = [
        *_rows(Metrics()),
        *_rows(ApiMetrics(CollectorRegistry())),
        *_rows(ProjectionMetrics(CollectorRegistry())),
        *_rows(PublishMetrics(CollectorRegistry())),
        *_rows(WebhookMetrics(CollectorRegistry())),
        *_rows(DeadLetterMetrics(CollectorRegistry())),
        *_rows(ReactionMetrics(CollectorRegistry())),
        *_rows(RekeyingProjectionMetrics(CollectorRegistry())),
    ]
    declared = [*_rows(ReadingMetrics()), *_rows(InvalidRecords(CollectorRegistry()))]
    reading = [row for row in declared if row not in own]
    alerts = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    columns = ["metric", "type", "labels", "what"]
    parts = [INTRO, table(columns, own), READING, table(columns, reading), ALERTING]
    for rule in alerts:
        waits = f", for {rule['for']}" if "for" in rule else ""
        said = rule["annotations"]
        page = "../" + said["runbook_url"].removeprefix("docs/")
        parts.append(f"**{rule['alert']}** ({rule['labels']['severity']}{waits}): {said['summary']}\n")
        parts.append(f"{said['description']} [What to do]({page}).\n")
        parts.append(fenced("promql", rule["expr"]))
    return "\n".join(parts)


def _rows(metrics: object) -> list[list[str]]:
    rows = []
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            # What the library calls a counter's family lacks the ending that its samples have.
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(code(label) for label in metric._labelnames)  # noqa: SLF001 - there is no other way to ask
            rows.append([code(name), family.type, labels, family.documentation])
    return rows
