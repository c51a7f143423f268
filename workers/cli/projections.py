"""`annals projections`: where read models stand, their rows, and what an operator does with them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import click

from annals.agents.extras import how_to_install
from annals.schemas.suggestion import meant, with_known
from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.asking import NOT_FOUND, ask, asked, asks_api, connected, refusal, require_whole
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.groups import Commands
from annals.workers.cli.options import ASKING, CONNECTION, takes_settings
from annals.workers.cli.output import counted, flush, print_array, print_line
from annals.workers.cli.stopping import interrupt_on_signals

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from annals.agents.projections.projection import Projection
    from annals.workers.client.api_client import ApiClient, ApiError
    from annals.workers.projections.offline import RowBatches
    from annals.workers.settings import Settings

PAGE: Final = 1_000
TABLES: Final = re.compile(r"\b(?:from|join)\s+(\w+)", re.ASCII | re.IGNORECASE)
POLL_S: Final = 0.2


@click.group(cls=Commands)
def projections() -> None:
    """Read models: list, status, show and rebuild ask the API of a worker; query and show --at fold from Kafka."""


@projections.command("list")
@asks_api()
@AS_JSON
def list_(settings: Settings, *, as_json: bool) -> int:
    """List the projections with version, status and lag."""
    found = asked(settings, "GET", "/v1/projections")["projections"]
    if as_json:
        click.echo(json.dumps(found))
    else:
        for each in found:
            click.echo(_line(each))
    return DONE


@projections.command()
@click.argument("name")
@asks_api()
@AS_JSON
def status(settings: Settings, name: str, *, as_json: bool) -> int:
    """Say where the projection NAME stands on each partition; exit status 1 if it is not current."""
    found = _asked(settings, name, "GET")
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(_line(found))
        for kind, offsets in found["positions"].items():
            known = " ".join("-" if offset is None else str(offset) for offset in offsets)
            click.echo(f"  next offsets in the journal of {kind}, by partition: {known}")
        if found.get("rebuilding") is not None:
            _print_rebuilding(found["rebuilding"])
        for each in found["missing"] + found["stale"]:
            click.echo(f"  {each['kind']}-{each['partition']}: {each['reason']}")
    return DONE if found["status"] == "current" else ANSWER_IS_NO


@projections.command()
@click.argument("name")
@click.option("--aggregate", metavar="KIND/ID", help="Only the rows of this aggregate.")
@asks_api()
@AS_JSON
def rebuild(settings: Settings, name: str, aggregate: str | None, *, as_json: bool) -> int:
    """Build the rows of the projection NAME anew, and wait until that is done.

    They are built beside those that answer, which go on answering until the new ones have come as far. Where an event
    cannot be folded that is an error, and the former rows answer on.
    """
    query = "" if aggregate is None else f"?{urlencode({'aggregate': aggregate})}"
    job = _done(settings, name, f"/rebuild{query}")
    click.echo(json.dumps(job) if as_json else f"{name}: rebuilt")
    return DONE


@projections.command()
@click.argument("name")
@asks_api()
@AS_JSON
def verify(settings: Settings, name: str, *, as_json: bool) -> int:
    """Compare all rows of the projection NAME with a fold of the journal; exit status 1 if any differs.

    It ends when 100 differ, or when what differs makes 128 KiB.
    """
    job = _done(settings, name, "/verify")
    result = job["result"]
    if as_json:
        click.echo(json.dumps(job))
    else:
        compared = f"{counted(result['rows'], 'row')}, {counted(result['events'], 'event')}"
        click.echo(f"{name}: {compared}, {counted(len(result['differences']), 'difference')}")
        for each in result["differences"]:
            click.echo(json.dumps(each))
        for each in result["unanswered"]:
            click.echo(f"not compared: {each}")
    return ANSWER_IS_NO if result["differences"] or result["unanswered"] else DONE


@projections.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), required=True, help="The version whose rows go.")
@asks_api()
@AS_JSON
def drop(settings: Settings, name: str, version: int, *, as_json: bool) -> int:
    """Drop a version of the projection NAME that does not answer any more, before its day is over."""
    found = _asked(settings, name, "POST", f"/drop?version={version}")
    click.echo(json.dumps(found) if as_json else f"{name}: version {version} is dropped")
    return DONE


@projections.command("turn-back")
@click.argument("name")
@asks_api()
@AS_JSON
def turn_back(settings: Settings, name: str, *, as_json: bool) -> int:
    """Have the version before answer again; possible for a day after the projection NAME has turned."""
    found = _asked(settings, name, "POST", "/turn-back")
    click.echo(json.dumps(found) if as_json else _line(found))
    return DONE


@projections.command()
@click.argument("name")
@asks_api()
@AS_JSON
def resume(settings: Settings, name: str, *, as_json: bool) -> int:
    """Have the projection NAME, which failed on an event, try it again."""
    found = _asked(settings, name, "POST", "/resume")
    click.echo(json.dumps(found) if as_json else _line(found))
    return DONE


@projections.command()
@click.argument("name")
@click.option("--at", metavar="TIME", help="As it was at this time (RFC 3339): folded from Kafka, without a worker.")
@asks_api(ASKING | CONNECTION)
@AS_JSON
def show(settings: Settings, name: str, at: str | None, *, as_json: bool) -> int:
    """Print the rows of the projection NAME, a JSON line each; with --json one array. There may be none."""
    if at is None:
        _print(_pages(settings, name), as_json=as_json)
    else:
        interrupt_on_signals()  # the rows lie in a folder for temporary files meanwhile
        _fold(settings, [_known(name)], lambda _, batches: _print(batches, as_json=as_json), _moment(at))
    flush()
    return DONE


@projections.command()
@click.argument("sql")
@AS_JSON
@takes_settings(CONNECTION)
def query(settings: Settings, sql: str, *, as_json: bool) -> int:
    """Answer SQL over the rows of the projections that it names, each a table; a JSON line per row.

    The rows are folded from Kafka, no worker is asked. Needs the extra `query`.
    """
    try:
        from annals.workers.projections.query import QueryError, Tables, named_in
    except ModuleNotFoundError:
        raise CannotAskError(f"SQL needs DuckDB: {how_to_install('query')}") from None
    from annals.workers.registry import projections as registered

    newest = {name: versions[-1] for name, versions in registered().items()}
    wanted = [newest[name] for name in named_in(sql, newest)]
    if not wanted:
        suggestion = next(filter(None, (meant(each, newest) for each in TABLES.findall(sql))), "")
        raise CannotAskError(f"the statement names no projection: there are {', '.join(newest)}.{suggestion}")
    interrupt_on_signals()
    tables = Tables()
    try:
        tables.require_question(sql)
        _fold(settings, wanted, tables.load, None)
        tables.lock()
        _print([tables.query(sql)], as_json=as_json)
        flush()
    except QueryError as error:
        raise CannotAskError(str(error)) from None
    finally:
        tables.close()
    return DONE


def _path(name: str) -> str:
    return f"/v1/projections/{quote(name, safe='')}"


def _line(found: dict[str, Any]) -> str:
    lag = found["lag"]
    building = found.get("building")
    offsets = "offset" if lag["events"] == 1 else "offsets"  # of the journals: the ends of transactions are among them
    beside = "" if building is None else f", version {building['version']} is being built"
    return f"{found['name']} version {found['version']}: {found['status']}, {lag['events']} {offsets} behind{beside}"


def _print_rebuilding(found: dict[str, Any]) -> None:
    for kind, offsets in found["positions"].items():
        pairs = zip(offsets, found["total"][kind], strict=True)
        said = ", ".join("none" if end is None else f"{offset or 0} of {end}" for offset, end in pairs)
        click.echo(f"  built anew, {kind}: {said}")
    for each in found["failed"]:
        click.echo(f"  built anew, {each['kind']}-{each['partition']}: {each['reason']}")


def _asked(settings: Settings, name: str, method: str, path: str = "") -> Any:
    """Return what the API answers to a question about one projection; see `_ask`. path: below the projection's."""

    async def answer() -> Any:
        async with connected(settings) as client:
            return await _ask(client, name, method, f"{_path(name)}{path}")

    return asyncio.run(answer())


async def _ask(client: ApiClient, name: str, method: str, path: str) -> Any:
    """Return what the API answers. A name that it does not have is wrong usage, as a kind that there is not.

    Raises:
        CannotAskError: it does not answer, or has no projection of this name.
    """
    from annals.workers.client.api_client import ApiError

    try:
        return await client.ask(method, path)
    except ApiError as error:
        raise await _refusal(client, name, error) from None


async def _refusal(client: ApiClient, name: str, error: ApiError) -> Exception:
    if error.status == NOT_FOUND:
        known = [each["name"] for each in (await ask(client, "GET", "/v1/projections"))["projections"]]
        if name not in known:
            return _unknown(name, known)
    return refusal(error)


def _unknown(name: str, known: Sequence[str]) -> CannotAskError:
    return CannotAskError(with_known("there is no projection", name, known))


def _done(settings: Settings, name: str, path: str) -> Any:
    """Begin a job, and return it when it has ended; on a terminal it is told how far it is."""
    tells = sys.stderr.isatty()

    async def work() -> Any:
        async with connected(settings) as client:
            job = await _ask(client, name, "POST", f"{_path(name)}{path}")
            while job["status"] == "running":
                await asyncio.sleep(POLL_S)
                job = await ask(client, "GET", f"/v1/jobs/{quote(job['id'], safe='')}")
                if tells and job.get("progress"):
                    said = ", ".join(f"{name} {count:,}" for name, count in job["progress"].items())
                    click.echo(f"\r{said}\x1b[K", err=True, nl=False)
            if tells:
                click.echo(err=True)
            if job["status"] != "done":
                raise CannotAskError(str(job["error"]))
            return job

    return asyncio.run(work())


def _print(batches: Iterable[Iterable[dict[str, Any]]], *, as_json: bool) -> None:
    """Print rows, some at a time: a line each, or one array."""
    rows = (json.dumps(row, ensure_ascii=False, default=str).encode() for some in batches for row in some)
    if as_json:
        print_array(rows)
        return
    for row in rows:
        print_line(row)


def _pages(settings: Settings, name: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a projection, a page at a time."""
    with asyncio.Runner() as runner:
        pages = _row_pages(settings, name)

        async def following() -> list[dict[str, Any]] | None:
            return await anext(pages, None)

        try:
            while (page := runner.run(following())) is not None:
                yield page
        finally:
            runner.run(pages.aclose())


async def _row_pages(settings: Settings, name: str) -> AsyncGenerator[list[dict[str, Any]], None]:
    from annals.workers.client.api_client import ApiError

    is_none = True
    async with connected(settings) as client, aclosing(client.pages(f"{_path(name)}/rows?limit={PAGE}")) as answered:
        try:
            async for page in answered:
                yield page["rows"]
                is_none = is_none and not page["rows"]
                require_whole(page, is_last=page["next"] is None, is_none=is_none)
        except ApiError as error:
            raise await _refusal(client, name, error) from None


def _known(name: str) -> Projection[Any]:
    from annals.workers.registry import projections as registered

    if name not in registered():
        raise _unknown(name, list(registered()))
    return registered()[name][-1]


def _moment(text: str) -> str:
    from annals.schemas.values.moments import moment_of, recorded_at

    try:
        return recorded_at(moment_of(text))
    except ValueError as error:
        raise CannotAskError(f"--at {text!r} {error}") from None


def _fold(
    settings: Settings,
    wanted: list[Projection[Any]],
    take: Callable[[Projection[Any], RowBatches], None],
    until: str | None,
) -> None:
    from annals.agents.ports import StoreError
    from annals.agents.reading.read_models.refold import FoldFailedError
    from annals.schemas.journal_reader import GapError
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError
    from annals.workers.projections.offline import fold_from_kafka

    try:
        asyncio.run(fold_from_kafka(settings, wanted, take, until))
    except (FoldFailedError, FormatError, GapError, MissingTopicError, RangeGoneError, StoreError) as error:
        raise CannotAskError(str(error)) from None
