"""`annals aggregates`: which aggregates of a kind there are."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from annals.schemas.dag_json import encode
from annals.workers.cli.arguments import AS_JSON_LINES, KindType
from annals.workers.cli.asking import PAGE, asks_api, listed, none, with_query
from annals.workers.cli.failures import DONE
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@click.argument("kind", type=KindType())
@click.option("--status", metavar="STATUS", help="Only in this status.")
@click.option("--since", metavar="TIME", help="Only whose last event was recorded at this time (RFC 3339) or later.")
@click.option("--until", metavar="TIME", help="Only whose last event was recorded before this time (RFC 3339).")
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@asks_api()
@AS_JSON_LINES
def aggregates(settings: Settings, kind: str, *, limit: int | None, as_json: bool, **wanted: Any) -> int:
    """List the aggregates of KIND by id, with version, status, time of the last event, bytes and head.

    A worker's API is asked. With --json a line is an aggregate as the API answers it. Exit status 1 if there is none.
    """
    path = with_query(f"/v1/aggregates/{kind}", {**wanted, "limit": min(PAGE, limit or PAGE)})
    is_one = asyncio.run(_print(settings, path, limit, as_json=as_json))
    return DONE if is_one else none(f"such {kind}")


async def _print(settings: Settings, path: str, limit: int | None, *, as_json: bool) -> bool:
    """Print a line for each; return whether there is any."""
    is_one = False
    async with aclosing(listed(settings, path, "aggregates", limit)) as found:
        async for each in found:
            print_line(encode(each) if as_json else _line(each).encode())
            is_one = True
    flush()
    return is_one


def _line(found: dict[str, Any]) -> str:
    return (
        f"{found['aggregate_id']}  version {found['version']}  {found['status']}  last event {found['last_at']}"
        f"  {found['bytes']:,} bytes  head {found['head']}"
    )
