"""`annals subscribe`: what a subscriber gets, printed as it comes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.failures import ANSWER_IS_NO, DONE
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import flush, is_reader_gone, print_line
from annals.workers.cli.stopping import until_told_to_end

if TYPE_CHECKING:
    from annals.workers.client.subscriber import Start
    from annals.workers.settings import Settings


class NameType(click.ParamType):
    """The name of a subscription."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it."""
        from annals.topics.names import TopicNames

        try:
            TopicNames().subscribers(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class StartType(click.ParamType):
    """Where to begin."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        """Return the word, or the moment."""
        from annals.schemas.values.moments import moment_of
        from annals.workers.client.subscriber import BEGINNING, NOW

        if value in (BEGINNING, NOW):
            return str(value)
        try:
            return moment_of(value)
        except ValueError as error:
            self.fail(f"{value!r}: {BEGINNING}, {NOW} or a time, which {error}", param, ctx)


@click.command()
@click.argument("name", type=NameType())
@click.option(
    "--from",
    "start",
    type=StartType(),
    metavar="START",
    default="beginning",
    show_default=True,
    help="beginning: all that its topic has; now: what comes; or a time of publishing (RFC 3339).",
)
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@AS_JSON
@takes_settings(CONNECTION)
def subscribe(settings: Settings, name: str, start: Start, limit: int | None, *, as_json: bool) -> int:
    """Print the events of the subscription NAME as they come, a line each, until Ctrl-C, SIGTERM or --limit.

    With --json a line is the CloudEvent in its JSON format. Nothing is acknowledged, and no group is joined: a consumer
    beside it gets the same. Exit status 1 if there is no such subscription.
    """
    from annals.workers.kafka.connections import MissingTopicError

    try:
        asyncio.run(until_told_to_end(_print(settings, name, start, limit, as_json=as_json)))
    except MissingTopicError as error:
        click.echo(f"annals: there is no subscription {name!r}: {str(error).partition(':')[0]}", err=True)
        return ANSWER_IS_NO
    return DONE


async def _print(settings: Settings, name: str, start: Start, limit: int | None, *, as_json: bool) -> None:
    from annals.workers.client.subscriber import subscribed

    left = limit
    async with aclosing(subscribed(settings, name, start)) as steps:
        async for records in steps:
            for record in records[:left]:
                print_line(record.as_json() if as_json else record.as_line())
            flush()
            if left is not None and (left := left - len(records)) <= 0:
                return
            if not records and is_reader_gone():
                return
