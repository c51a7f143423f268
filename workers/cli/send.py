"""`annals send`: commands from a file or a pipe, and what became of each."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from annals.workers.cli.arguments import AS_LINES, SECONDS
from annals.workers.cli.failures import ANSWER_IS_NO, COULD_NOT_ASK, DONE, CannotAskError
from annals.workers.cli.files import read, source
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@click.argument("file", type=click.Path(allow_dash=True), default="-")
@click.option(
    "--timeout",
    type=SECONDS,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each outcome is waited for.",
)
@AS_LINES
@takes_settings(CONNECTION | {"limits"})
def send(settings: Settings, file: str, timeout: float, *, as_json: bool) -> int:  # noqa: ARG001 - it is JSON anyway
    """Send the commands of FILE, or of standard input, and print each outcome as a JSON line, in input order.

    A line is a command and its kind: {"kind": "person", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {…}}.
    FILE may be a pipe: it is read as it comes, up to its end. Without an id a line gets one (UUIDv7). One that cannot
    be sent is answered by {"line": n, "error": …}, a command without an outcome within --timeout seconds by
    {"command_id": …, "status": "unknown"}: send that one again, under the same id. Outcomes appear as they come, so
    that it can be a part of a longer pipe.

    Exit status 2 if any line could not be sent or any outcome is unknown, else 1 if any command was rejected.
    """
    from annals.workers.kafka.connections import MissingTopicError

    try:
        return asyncio.run(_send(settings, file, source(file, "commands", timeout), timeout))
    except MissingTopicError as error:
        raise CannotAskError(str(error)) from None


async def _send(settings: Settings, file: str, descriptor: int, timeout_s: float) -> int:
    from annals.topics.names import TopicNames
    from annals.workers.client.commands import CommandClient
    from annals.workers.client.lines import lines_of
    from annals.workers.client.streaming import answers
    from annals.workers.registry import deciders

    status, unknown = DONE, 0
    kinds, limit = tuple(deciders()), settings.max_command_bytes
    longest = limit + len('{"kind": "", ') + max(map(len, kinds)) + 1_000  # and some white space
    async with CommandClient(settings, timeout_s=timeout_s) as client:
        lines = lines_of(lambda size: read(file, descriptor, size), longest)
        async with aclosing(answers(client, lines, kinds, limit)) as found:
            async for answer in found:
                if answer is None:
                    flush()
                    continue
                print_line(answer.text)
                if answer.is_unknown:
                    status = COULD_NOT_ASK
                    unknown += not answer.is_refused
                elif answer.is_rejected:
                    status = max(status, ANSWER_IS_NO)
    flush()
    if unknown:
        group = TopicNames(settings.topic_prefix).group(settings.app_id)
        click.echo(
            f"annals: no outcome of {unknown} of the commands came within {timeout_s:g} s: what became of them is not "
            f"known. Does a worker run with this topic prefix ({settings.topic_prefix!r}), and does its GET "
            f"/health/ready answer 200? Is annals_lag growing, or the lag of the group {group}? Send them again, under "
            "the same ids.",
            err=True,
        )
    return status
