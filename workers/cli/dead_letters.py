"""`annals dead-letters`: commands that could not be decided, and what becomes of them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from annals.workers.cli.arguments import AS_JSON, AS_LINES
from annals.workers.cli.choosing import (
    CURSOR,
    LIMIT,
    NOT_SHOWN,
    WHY,
    filters,
    login,
    place_of,
    refuse_unknown_command,
    require_one,
    takes_filters,
    takes_reason,
    takes_which,
)
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.groups import Commands
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import flush, print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from annals.agents.dead_letters.selection import Selection
    from annals.schemas.settlement import Action
    from annals.workers.dead_letters.service import DeadLetterService
    from annals.workers.settings import Settings

PLACES: Final = 2  # numbers of a cursor
SETTINGS = takes_settings(CONNECTION | {"topics"})
REASON: Final = takes_reason("--reason", "not_json")
WITH_REASON: Final = takes_reason("--with-reason", "not_json")
OFFSETS: Final = click.argument("offsets", type=click.IntRange(0), nargs=-1, metavar="[OFFSET]...")
FILTERS: Final = takes_filters("commands", "received")
PARTITION: Final = click.option("--partition", type=click.IntRange(0), help="Of the topic dead-letters.")


@click.group("dead-letters", cls=Commands)
def dead_letters() -> None:
    """List, show, replay, discard or export dead letters: commands that could not be read, or not be decided."""


@dead_letters.command("list")
@REASON
@FILTERS
@LIMIT
@CURSOR
@AS_JSON
@SETTINGS
def list_(
    settings: Settings, reason: str | None, limit: int, cursor: str | None, *, as_json: bool, **where: Any
) -> int:
    """List the dead letters that are open, oldest first, a page at a time."""
    selection = _selection(reason=reason, **where)
    partition, offset = place_of(cursor, PLACES) if cursor else (0, 0)
    page = _run(settings, lambda service: service.page(selection, (partition, offset), limit))
    if not page.letters and page.next is None and cursor is None:
        refuse_unknown_command(selection.kind, selection.type, reason)
    following = None if page.next is None else f"{page.next[0]}-{page.next[1]}"
    if as_json:
        from msgspec.structs import asdict

        letters = list(map(asdict, page.letters))
        click.echo(orjson.dumps({"dead_letters": letters, "next": following, "stop_at": page.stop_at}).decode())
        return DONE
    for each in page.letters:
        named = (each.reason, each.kind, each.type, each.aggregate_id, each.command_id, each.at)
        click.echo(f"{each.partition}-{each.offset}  " + "  ".join(text or NOT_SHOWN for text in named))
    if following is not None:
        click.echo(f"annals: there may be more: --cursor {following}", err=True)
    return DONE


@dead_letters.command()
@click.argument("offset", type=click.IntRange(0))
@PARTITION
@AS_JSON
@SETTINGS
def show(settings: Settings, offset: int, partition: int | None, *, as_json: bool) -> int:
    """Show the dead letter at OFFSET with its bytes, and what became of it; exit status 1 if there is none."""
    found = _run(settings, lambda service: service.get(partition or 0, offset))
    if found is None:
        click.echo(f"annals: there is no dead letter at offset {offset} of partition {partition or 0}", err=True)
        return ANSWER_IS_NO
    option = 0 if as_json else orjson.OPT_INDENT_2
    click.echo(orjson.dumps(found.body(), option=option).decode())
    return DONE


@dead_letters.command()
@OFFSETS
@PARTITION
@takes_which
@FILTERS
@REASON
@AS_JSON
@SETTINGS
def replay(settings: Settings, reason: str | None, *, as_json: bool, **which: Any) -> int:
    """Send the commands at OFFSETs, of an --aggregate or --all again, as they were, under their own ids.

    Each is sent once, however many administrators ask for it. What still cannot be read becomes a dead letter anew.
    Exit status 1 if none was open, or one came from no topic of commands.
    """
    return _settle(settings, "replay", which, reason=reason, why=None, as_json=as_json)


@dead_letters.command()
@OFFSETS
@PARTITION
@takes_which
@FILTERS
@WHY
@WITH_REASON
@AS_JSON
@SETTINGS
def discard(settings: Settings, why: str, reason: str | None, *, as_json: bool, **which: Any) -> int:
    """Settle the dead letters at OFFSETs, of an --aggregate or --all without sending anything.

    Their bytes stay in the topic as long as it keeps them. Exit status 1 if none was open.
    """
    return _settle(settings, "discard", which, reason=reason, why=why, as_json=as_json)


@dead_letters.command()
@REASON
@FILTERS
@AS_LINES
@SETTINGS
def export(settings: Settings, reason: str | None, *, as_json: bool, **where: Any) -> int:  # noqa: ARG001 - it is JSON anyway
    """Print the dead letters that are open with their bytes, a JSON line each."""
    selection = _selection(reason=reason, **where)

    async def print_all(service: DeadLetterService) -> int:
        count = 0
        async with aclosing(service.export(selection)) as letters:
            async for each in letters:
                print_line(orjson.dumps(each.body()))
                count += 1
        return count

    count: int = _run(settings, print_all)
    flush()
    if not count:
        refuse_unknown_command(selection.kind, selection.type, reason)
    return DONE


def _settle(
    settings: Settings, action: Action, which: dict[str, Any], *, reason: str | None, why: str | None, as_json: bool
) -> int:
    by = which.pop("by") or login()
    selection = _chosen(reason=reason, **which)
    done = _run(settings, lambda service: service.settle(action, selection, by, f"dead-letters {action}", reason=why))
    if not done.accepted and not done.refused:
        refuse_unknown_command(selection.kind, selection.type, selection.reason)
    if as_json:
        click.echo(orjson.dumps(done._asdict()).decode())
    else:
        said = "sent again" if action == "replay" else "discarded"
        click.echo(f"{done.accepted} {said}" + (f", {done.refused} cannot be sent" if done.refused else ""))
    return DONE if done.accepted and not done.refused else ANSWER_IS_NO


def _chosen(
    offsets: tuple[int, ...], partition: int | None, stop_at: int | None, *, is_all: bool, **where: Any
) -> Selection:
    require_one("OFFSETs", offsets, where["aggregate"], is_all=is_all)
    if offsets and partition is None:
        partition = 0
    given = frozenset(offsets) if offsets else None
    return _selection(**where)._replace(offsets=given, partition=partition, stop_at=stop_at)


def _selection(*, reason: str | None, **where: Any) -> Selection:
    from annals.agents.dead_letters.selection import Selection

    return Selection(reason=reason, **filters(**where))


def _run(settings: Settings, ask: Callable[[DeadLetterService], Coroutine[Any, Any, Any]]) -> Any:
    from annals.agents.ports import JournalError
    from annals.workers.dead_letters.service import DeadLetterService
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.registry import deciders
    from annals.workers.settings import client_options

    async def answer() -> Any:
        return await ask(DeadLetterService(settings, client_options(settings), deciders()))

    try:
        return asyncio.run(answer())
    except (FormatError, JournalError, MissingTopicError) as error:
        raise CannotAskError(str(error)) from None
