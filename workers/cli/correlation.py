"""`annals correlation`: what was caused by what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from annals.schemas.dag_json import encode
from annals.workers.cli.arguments import AS_JSON, IdType
from annals.workers.cli.asking import asked, asks_api, none, require_whole
from annals.workers.cli.failures import DONE
from annals.workers.cli.output import print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings

INDENT: Final = "  "


@click.command()
@click.argument("correlation_id", type=IdType(), metavar="ID")
@asks_api()
@AS_JSON
def correlation(settings: Settings, correlation_id: str, *, as_json: bool) -> int:
    """Show what was caused by what in the correlation ID: each command with its events, below it what it caused.

    A worker's API is asked. Exit status 1 if there is no event of this correlation.
    """
    answer = asked(settings, "GET", f"/v1/correlations/{quote(correlation_id, safe='')}")
    if as_json:
        print_line(encode(answer))
    else:
        _print_trees(answer["roots"])
        if answer["truncated"]:
            click.echo("annals: there are more events than these", err=True)
    require_whole(answer, is_none=not answer["roots"])
    return DONE if answer["roots"] else none(f"event of the correlation {correlation_id!r}")


def _print_trees(roots: list[dict[str, Any]]) -> None:
    left = [(0, root) for root in reversed(roots)]
    while left:
        depth, node = left.pop()
        click.echo(f"{INDENT * depth}command {node['command_id']}")
        for event in node["events"]:
            which = f"{event['kind']} {event['aggregate_id']} version {event['version']}"
            click.echo(f"{INDENT * depth}- {event['type']}, {which}, {event['recorded_at']}")
        left += [(depth + 1, child) for child in reversed(node["children"])]
