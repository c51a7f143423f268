"""`annals events`: the history of one aggregate."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from annals.workers.cli.arguments import AS_LINES, IdType, KindType, WebAddressType
from annals.workers.cli.asking import NOT_FOUND, PAGE, connected
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.options import ASKING, CONNECTION, takes_settings
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@click.argument("kind", type=KindType())
@click.argument("aggregate_id", type=IdType(), metavar="ID")
@AS_LINES
@click.option(
    "--api",
    type=WebAddressType(),
    metavar="URL",
    help="Ask the API of a worker there instead of Kafka; the same as --api-url.",
)
@takes_settings(CONNECTION | ASKING)
def events(settings: Settings, kind: str, aggregate_id: str, *, api: str | None, as_json: bool) -> int:  # noqa: ARG001 - it is JSON anyway
    """Print the events of the aggregate ID that count, one line each, from Kafka or from a worker's API.

    A line is the event's block as DAG-JSON, and beside its members cid, partition and offset. Exit status 1 if there is
    none, or at a gap: events are missing there, and what comes after is not shown. The API is asked only if --api or
    --api-url is given.
    """
    told = api or click.get_current_context().params["api_url"]
    if told is not None:
        return asyncio.run(_print_answered(replace(settings, api_url=told), kind, aggregate_id))
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError

    try:
        return asyncio.run(_print(settings, kind, aggregate_id))
    except (FormatError, MissingTopicError, RangeGoneError) as error:
        raise CannotAskError(str(error)) from None


async def _print(settings: Settings, kind: str, aggregate_id: str) -> int:
    from annals.schemas.journal_reader import GapError
    from annals.workers.client.history import history

    status = ANSWER_IS_NO
    try:
        async with aclosing(history(settings, kind, aggregate_id)) as counted:
            async for event in counted:
                print_line(event.as_json())
                status = DONE
    except GapError as error:
        flush()
        click.echo(f"annals: {error}", err=True)
        return ANSWER_IS_NO
    if status == ANSWER_IS_NO:
        click.echo(f"annals: there is no event of {kind} {aggregate_id!r}", err=True)
    flush()
    return status


async def _print_answered(settings: Settings, kind: str, aggregate_id: str) -> int:
    """Print what the API answers, page by page; its blocks are verified where they are read."""
    from annals.schemas.dag_json import encode
    from annals.workers.client.api_client import ApiError

    following: str | None = f"/v1/aggregates/{kind}/{quote(aggregate_id, safe='')}/events?limit={PAGE}"
    try:
        async with connected(settings) as client:
            while following is not None:
                page = await client.ask("GET", following)
                for event in page["events"]:
                    print_line(encode(event))
                following = page["next"]
    except ApiError as error:
        flush()
        if error.status != NOT_FOUND:
            raise CannotAskError(str(error)) from None
        click.echo(f"annals: there is no event of {kind} {aggregate_id!r}", err=True)
        return ANSWER_IS_NO
    flush()
    return DONE
