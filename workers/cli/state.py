"""`annals state`: one aggregate, now or as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from annals.schemas.dag_json import encode
from annals.workers.cli.arguments import AS_JSON, IdType, KindType
from annals.workers.cli.asking import asked, asks_api, require_whole, with_query
from annals.workers.cli.failures import DONE
from annals.workers.cli.output import print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@click.argument("kind", type=KindType())
@click.argument("aggregate_id", type=IdType(), metavar="ID")
@click.option("--version", type=click.IntRange(1), help="As it was at this version.")
@click.option("--at", metavar="TIME", help="As it was at this time (RFC 3339).")
@click.option("--expect-at-least", type=click.IntRange(1), help="Wait until it has this version, at most 10 seconds.")
@asks_api()
@AS_JSON
def state(
    settings: Settings,
    kind: str,
    aggregate_id: str,
    *,
    version: int | None,
    at: str | None,
    expect_at_least: int | None,
    as_json: bool,
) -> int:
    """Show the aggregate ID of KIND as it is now, or as it was; exit status 1 if there is none.

    A worker's API is asked. With --json it is printed as the API answers it.
    """
    if version is not None and at is not None:
        raise click.UsageError("--version and --at exclude one another")
    path = f"/v1/aggregates/{kind}/{quote(aggregate_id, safe='')}"
    wanted = {"version": version, "at": at, "expect_at_least": expect_at_least}
    answer = asked(settings, "GET", with_query(path, wanted))
    if as_json:
        print_line(encode(answer))
    else:
        line = f"{kind} {aggregate_id} version {answer['version']}: {answer['status']}"
        click.echo(f"{line}, recorded {answer['recorded_at']}, head {answer['head']}")
        click.echo(json.dumps(answer["state"], indent=2, ensure_ascii=False))
    require_whole(answer, is_none=False)
    return DONE
