"""`annals events`: the history of one aggregate."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from annals.workers.cli.arguments import IdType, KindType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@click.argument("kind", type=KindType())
@click.argument("aggregate_id", type=IdType(), metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, which it does anyway.")
@takes_settings(CONNECTION)
def events(settings: Settings, kind: str, aggregate_id: str, *, as_json: bool) -> int:  # noqa: ARG001 - it is JSON anyway
    """Print the events of the aggregate ID that count, one line each, from Kafka.

    A line is the event's block as DAG-JSON, and beside its members cid, partition and offset. Exit status 1 if there is
    none, or at a gap: events are missing there, and what comes after is not shown.
    """
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
