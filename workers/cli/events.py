"""`annals events`: the history of one aggregate, or events by type, time and so on."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from annals.schemas.dag_json import encode
from annals.workers.cli.arguments import AS_LINES, IdType, KindType, WebAddressType
from annals.workers.cli.asking import PAGE, connected, listed, none, refusal, with_query
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.options import ASKING, CONNECTION, takes_settings
from annals.workers.cli.output import flush, is_reader_gone, print_line
from annals.workers.cli.stopping import until_told_to_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from annals.workers.client.api_client import ApiError
    from annals.workers.settings import Settings

OF_ONE: Final = ("from", "to")  # parameters of an aggregate's history; the other ones are of events of all
VERSION: Final = click.IntRange(1)


def _wanted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which events are wanted; they are called as the API's parameters."""
    options = (
        click.option("--from", type=VERSION, help="With ID: from this version on."),
        click.option("--to", type=VERSION, help="With ID: up to this version."),
        click.option("--kind", "of_kind", type=KindType(), help="Only of aggregates of this kind."),
        click.option("--type", metavar="TYPE", help="Only of this type."),
        click.option("--correlation-id", metavar="ID", help="Only of this correlation."),
        click.option("--causation-id", metavar="ID", help="Only what this command or event caused."),
        click.option("--command-id", metavar="ID", help="Only of this command."),
        click.option("--actor", metavar="ACTOR", help="Only of this actor."),
        click.option("--since", metavar="TIME", help="Only recorded at this time (RFC 3339) or later."),
        click.option("--until", metavar="TIME", help="Only recorded before this time (RFC 3339)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("kind", type=KindType(), required=False, metavar="[KIND ID]")
@click.argument("aggregate_id", type=IdType(), required=False, metavar="")
@_wanted
@click.option("--reverse", is_flag=True, help="The newest first.")
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@click.option(
    "--follow",
    is_flag=True,
    help="Without ID: from the first event, or from --since on, and on as they come, until Ctrl-C, SIGTERM or --limit.",
)
@AS_LINES
@click.option(
    "--api",
    type=WebAddressType(),
    metavar="URL",
    help="With ID: ask the API of a worker there instead of Kafka; the same as --api-url.",
)
@takes_settings(CONNECTION | ASKING)
def events(
    settings: Settings,
    kind: str | None,
    aggregate_id: str | None,
    *,
    reverse: bool,
    limit: int | None,
    follow: bool,
    api: str | None,
    as_json: bool,  # noqa: ARG001 - it is JSON anyway
    of_kind: str | None,
    **wanted: Any,
) -> int:
    """Print the events of the aggregate ID of KIND that count, or those of all aggregates, one line each.

    A line is the event's block as DAG-JSON, and beside its members cid, partition and offset. Exit status 1 if there is
    none, or at a gap: events are missing there, and what comes after is not shown.

    Those of one aggregate come from Kafka, or from a worker's API if --api or --api-url is given; those of all always
    from the API: within a partition in the order of the journal.
    """
    told = api or click.get_current_context().params["api_url"]
    asked = settings if told is None else replace(settings, api_url=told)
    if kind is not None and aggregate_id is None:
        raise click.UsageError("Missing argument 'ID'; --kind is for the events of all aggregates of a kind.")
    _require_fitting(aggregate_id, {**wanted, "kind": of_kind}, is_reverse=reverse, is_follow=follow)
    query = {**wanted, "order": "desc" if reverse else None, "limit": min(PAGE, limit or PAGE)}
    if follow:
        lines = _followed(asked, with_query("/v1/events", {"kind": of_kind, **wanted}))
        asyncio.run(until_told_to_end(_print(lines, limit)))
        return DONE
    if aggregate_id is None:
        lines = _answered(asked, with_query("/v1/events", {"kind": of_kind, **query}), limit)
        return _printed(lines, None, "of those that are wanted")
    versions = [f"{word} version {wanted[word]}" for word in OF_ONE if wanted[word] is not None]
    which = " ".join((f"of {kind} {aggregate_id!r}", *versions))
    if told is None:
        return _printed(_read(settings, str(kind), aggregate_id, wanted, limit, is_reverse=reverse), limit, which)
    path = f"/v1/aggregates/{kind}/{quote(aggregate_id, safe='')}/events"
    return _printed(_answered(asked, with_query(path, query), limit), None, which)


def _require_fitting(aggregate_id: str | None, wanted: Mapping[str, Any], *, is_reverse: bool, is_follow: bool) -> None:
    given = [name for name, value in wanted.items() if value is not None] + ["follow"] * is_follow
    unfit = [name for name in given if (name in OF_ONE) == (aggregate_id is None)]
    if unfit:
        how = "needs" if aggregate_id is None else "is for all aggregates, without"
        raise click.UsageError(f"--{unfit[0].replace('_', '-')} {how} ID")
    if is_reverse and is_follow:
        raise click.UsageError("--reverse and --follow exclude one another")


def _printed(lines: AsyncGenerator[bytes | None, None], limit: int | None, which: str) -> int:
    """Print lines up to a limit; return the exit status. which: events are meant, where there is none."""
    from annals.schemas.journal_reader import GapError
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError

    try:
        count = asyncio.run(_print(lines, limit))
    except GapError as error:
        flush()
        click.echo(f"annals: {error}", err=True)
        return ANSWER_IS_NO
    except (FormatError, MissingTopicError, RangeGoneError) as error:
        raise CannotAskError(str(error)) from None
    return DONE if count else none(f"event {which}")


async def _print(lines: AsyncGenerator[bytes | None, None], limit: int | None) -> int:
    """Print lines up to a limit; return how many. None: what was printed is to be seen, as nothing is at hand."""
    count = 0
    async with aclosing(lines) as found:
        async for line in found:
            if line is not None:
                print_line(line)
                count += 1
            elif is_reader_gone():
                break
            else:
                flush()
            if count == limit:
                break
    flush()
    return count


async def _read(
    settings: Settings, kind: str, aggregate_id: str, wanted: Mapping[str, Any], limit: int | None, *, is_reverse: bool
) -> AsyncGenerator[bytes | None, None]:
    """Yield an aggregate's events from Kafka."""
    from annals.workers.client.history import history

    first, last = wanted["from"] or 1, wanted["to"]
    newest: deque[bytes] = deque(maxlen=limit)  # a journal is read forwards: the last ones are known at its end
    async with aclosing(history(settings, kind, aggregate_id)) as counted:
        async for event in counted:
            version = event.event["version"]
            if version < first or (last is not None and version > last):
                continue
            if is_reverse:
                newest.append(event.as_json())
            else:
                yield event.as_json()
    while newest:
        yield newest.pop()


async def _answered(settings: Settings, path: str, limit: int | None) -> AsyncGenerator[bytes | None, None]:
    """Yield what the API answers, page by page; its blocks are verified where they are read."""
    async with aclosing(listed(settings, path, "events", limit)) as found:
        async for event in found:
            yield encode(event)


async def _followed(settings: Settings, path: str) -> AsyncGenerator[bytes | None, None]:
    """Yield events as they come; None where the next one is to be waited for."""
    from annals.workers.client.api_client import ApiError

    try:
        async with connected(settings) as client, aclosing(client.followed(path, on_failure=_tell)) as stream:
            async for event, _, has_next in stream:
                if event is not None:
                    yield encode(event)
                if not has_next:
                    yield None
    except ApiError as error:
        raise refusal(error) from None


def _tell(error: ApiError) -> None:
    flush()
    click.echo(f"annals: the stream broke off, and is asked for again until it goes on: {error}", err=True)
