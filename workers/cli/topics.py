"""`annals topics`: creates what is missing, and says what differs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from annals.workers.cli.failures import ANSWER_IS_NO, DONE
from annals.workers.cli.groups import Commands
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.kafka.admin.probes import ABLE, NOT_TRIED
from annals.workers.kafka.admin.provisioning import check_by_roles
from annals.workers.kafka.admin.provisioning import create as create_topics

if TYPE_CHECKING:
    from annals.workers.kafka.admin.provisioning import Report
    from annals.workers.settings import Settings

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
HIDDEN = "the user may not see whether it exists; a worker starts, and does less (docs/reference/permissions.md)"
SETTINGS = takes_settings(CONNECTION | {"topics"})


@click.group(cls=Commands)
def topics() -> None:
    """Create the topics, or say what differs from what they should be."""


@topics.command()
@AS_JSON
@SETTINGS
def create(settings: Settings, *, as_json: bool) -> int:
    """Create the topics that are missing; those that exist are left as they are."""
    created = asyncio.run(create_topics(settings))
    if as_json:
        click.echo(json.dumps({"created": created}))
    else:
        for name in created:
            click.echo(f"created {name}")
        if not created:
            click.echo("nothing to create: all topics exist")
    return DONE


@topics.command()
@AS_JSON
@SETTINGS
def check(settings: Settings, *, as_json: bool) -> int:
    """Say what differs from the catalogue, and try what the brokers can do.

    Exit status 1 where a worker of ANNALS_ROLES would refuse to start or could not join its groups: a topic is missing,
    a journal could lose events, or the brokers cannot do what is needed. Warnings alone, and what this user may not try
    or see and no worker of these roles needs to start, are 0; with ANNALS_CREATE_TOPICS=1 missing topics are, too. Of a
    worker that reads alone, the settings of the journals are compared, and no others.
    """
    report = asyncio.run(check_by_roles(settings))
    if settings.create_topics:
        report.needed.clear()
    click.echo(json.dumps(report.as_json()) if as_json else _as_text(report, are_created=settings.create_topics))
    return DONE if report.is_good else ANSWER_IS_NO


def _as_text(report: Report, *, are_created: bool) -> str:
    lines = [f"missing  {name}" for name in report.missing]
    lines += [f"refused  {finding}" for finding in report.refusals]
    lines += [f"warning  {finding}" for finding in report.warnings]
    lines += [f"able     {name}" for name, said in report.probes.items() if said == ABLE]
    lines += [f"unknown  {name}: {said}" for name, said in report.probes.items() if said.startswith(NOT_TRIED)]
    lines += [f"unknown  {name}: {HIDDEN}" for name in report.hidden]
    if report.missing:
        lines.append(
            "A worker creates what is missing (ANNALS_CREATE_TOPICS)."
            if are_created
            else "Create what is missing with `annals topics create`."
        )
    if report.refusals:
        lines.append(
            "A worker does not start until then. Settings are changed with Kafka's own tool: "
            "`kafka-configs.sh --alter --topic TOPIC --add-config NAME=VALUE`."
        )
    if report.is_good:
        lines.append(
            "Nothing keeps a worker from starting."
            if report.warnings or report.missing or report.hidden
            else "All topics are as they should be."
        )
    return "\n".join(lines)
