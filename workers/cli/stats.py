"""`annals stats`: what there is, over all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import orjson

from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.asking import asked, asks_api
from annals.workers.cli.failures import ANSWER_IS_NO, DONE

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@asks_api()
@AS_JSON
def stats(settings: Settings, *, as_json: bool) -> int:
    """Show events, aggregates, bytes, rates and latencies by kind, over all workers.

    A worker's API is asked. Exit status 1 if a partition did not answer: it is named, and the sums are without it.
    """
    answer = asked(settings, "GET", "/v1/stats")
    if as_json:
        click.echo(orjson.dumps(answer).decode())
    else:
        for kind, sums in answer["kinds"].items():
            parts = [part for part in answer["partitions"] if part["kind"] == kind]
            click.echo(_line(kind, sums, max((part["latency"]["max_s"] for part in parts), default=0.0)))
        click.echo(_line("total", answer["total"], max((_latency(part) for part in answer["partitions"]), default=0.0)))
        for each in answer["missing"]:
            click.echo(f"not counted: {each['kind']}-{each['partition']}: {each['reason']}")
    return ANSWER_IS_NO if answer["missing"] else DONE


def _latency(part: dict[str, Any]) -> float:
    return float(part["latency"]["max_s"])


def _line(name: str, sums: dict[str, Any], latency_s: float) -> str:
    return (
        f"{name:<13} {sums['events']:>12,} events {sums['aggregates']:>10,} aggregates {sums['bytes']:>15,} bytes"
        f" {sums['events_per_second']:>10.1f} events/s, read within {latency_s:.3f} s"
    )
