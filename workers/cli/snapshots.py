"""`annals snapshots`: states that the reading stores keep, so that former versions are answered quickly."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import orjson

from annals.workers.cli.arguments import AS_JSON, IdType, KindType
from annals.workers.cli.asking import PAGE, ask, asked, asks_api, connected, listed
from annals.workers.cli.failures import ANSWER_IS_NO, DONE
from annals.workers.cli.groups import Commands
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings

KIND = click.argument("kind", type=KindType())
ID = click.argument("aggregate_id", type=IdType(), metavar="ID")


@click.group(cls=Commands)
def snapshots() -> None:
    """List, show, create, count or delete the snapshots of aggregates that the reading stores keep.

    A worker's API is asked. Snapshots make nothing true: answers are the same without them, and a partition that moves
    or is rebuilt begins without any.
    """


@snapshots.command("list")
@KIND
@click.argument("aggregate_id", type=IdType(), metavar="[ID]", required=False)
@asks_api()
@AS_JSON
def list_(settings: Settings, kind: str, aggregate_id: str | None, *, as_json: bool) -> int:
    """List the snapshots of the aggregate ID by version, or the newest one of each aggregate of KIND."""
    kept = asyncio.run(
        _newest_of_kind(settings, kind) if aggregate_id is None else _of_aggregate(settings, kind, aggregate_id)
    )
    if as_json:
        click.echo(orjson.dumps({"snapshots": kept}).decode())
    else:
        for each in kept:
            click.echo(
                _line(each) if aggregate_id is not None else f"{each['aggregate_id']}  version {each['version']}"
            )
    return DONE


@snapshots.command()
@KIND
@ID
@click.argument("version", type=click.IntRange(1), required=False)
@asks_api()
@AS_JSON
def show(settings: Settings, kind: str, aggregate_id: str, version: int | None, *, as_json: bool) -> int:
    """Show a snapshot of the aggregate ID, and the state at its version.

    It is that of VERSION; without VERSION the newest.
    """
    kept = asyncio.run(_one_of(settings, kind, aggregate_id, version))
    if kept is None:
        which = "" if version is None else f" of version {version}"
        click.echo(f"annals: there is no snapshot{which} of {kind} {aggregate_id!r}", err=True)
        return ANSWER_IS_NO
    state = asked(settings, "GET", f"{_aggregate(kind, aggregate_id)}?version={kept['version']}")["state"]
    if as_json:
        print_line(orjson.dumps({**kept, "state": state}))
    else:
        click.echo(_line(kept))
        print_line(orjson.dumps(state, option=orjson.OPT_INDENT_2))
    flush()
    return DONE


@snapshots.command()
@KIND
@ID
@asks_api()
@AS_JSON
def create(settings: Settings, kind: str, aggregate_id: str, *, as_json: bool) -> int:
    """Keep a snapshot of the aggregate ID as it is now."""
    kept = asked(settings, "POST", _path(kind, aggregate_id))
    click.echo(orjson.dumps(kept).decode() if as_json else _line(kept))
    return DONE


@snapshots.command()
@KIND
@ID
@click.argument("version", type=click.IntRange(1))
@asks_api()
def delete(settings: Settings, kind: str, aggregate_id: str, version: int) -> int:
    """Delete the snapshot of VERSION of the aggregate ID; exit status 1 if there is none."""
    asked(settings, "DELETE", f"{_path(kind, aggregate_id)}/{version}")
    return DONE


@snapshots.command()
@asks_api()
@AS_JSON
def stats(settings: Settings, *, as_json: bool) -> int:
    """Show by kind how many snapshots there are, their bytes and age, and how often they helped.

    Exit status 1 if a partition did not answer: it is named, and the sums are without it.
    """
    answer = asked(settings, "GET", "/v1/stats")
    sums = {kind: each["snapshots"] for kind, each in [*answer["kinds"].items(), ("total", answer["total"])]}
    if as_json:
        click.echo(orjson.dumps({"snapshots": sums, "missing": answer["missing"]}).decode())
    else:
        for kind, each in sums.items():
            age = "-" if each["oldest_s"] is None else f"{each['oldest_s']:,.0f} s"
            rate = "-" if each["hit_rate"] is None else f"{each['hit_rate']:.0%}"
            click.echo(f"{kind:<13} {each['count']:>8,} {each['bytes']:>15,} bytes  oldest {age}  hit rate {rate}")
        for each in answer["missing"]:
            click.echo(f"not counted: {each['kind']}-{each['partition']}: {each['reason']}")
    return ANSWER_IS_NO if answer["missing"] else DONE


async def _newest_of_kind(settings: Settings, kind: str) -> list[dict[str, Any]]:
    async with aclosing(listed(settings, f"/v1/aggregates/{kind}?limit={PAGE}", "aggregates")) as aggregates:
        return [
            {"aggregate_id": each["aggregate_id"], "version": each["snapshot_version"]}
            async for each in aggregates
            if each["snapshot_version"] is not None
        ]


async def _of_aggregate(settings: Settings, kind: str, aggregate_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path: str | None = f"{_path(kind, aggregate_id)}?limit={PAGE}"
    async with connected(settings) as client:
        while path is not None:
            page = await ask(client, "GET", path)
            found, path = found + page["snapshots"], page["next"]
    return found


async def _one_of(settings: Settings, kind: str, aggregate_id: str, version: int | None) -> dict[str, Any] | None:
    """Return the snapshot of a version, or the newest; None if there is none."""
    path = f"{_path(kind, aggregate_id)}?order=desc&limit={1 if version is None else PAGE}"
    newest_first = listed(settings, path, "snapshots")
    async with aclosing(newest_first) as found:
        return await anext((each async for each in found if version in {None, each["version"]}), None)


def _aggregate(kind: str, aggregate_id: str) -> str:
    return f"/v1/aggregates/{kind}/{quote(aggregate_id, safe='')}"


def _path(kind: str, aggregate_id: str) -> str:
    return f"{_aggregate(kind, aggregate_id)}/snapshots"


def _line(kept: dict[str, Any]) -> str:
    return f"version {kept['version']}  {kept['bytes']:,} bytes  created {kept['created_at']}  head {kept['head']}"
