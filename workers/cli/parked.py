"""`annals parked`: events that a subscriber could not take, and what becomes of them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
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
    refuse_unknown_event,
    require_one,
    takes_filters,
    takes_reason,
    takes_which,
)
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError, status_of
from annals.workers.cli.groups import Commands
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import counted, flush, print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from annals.agents.publishing.delivering.choosing import Choice, Parked, Place
    from annals.workers.publishing.parked import ParkedService
    from annals.workers.publishing.parked_list import Found
    from annals.workers.settings import Settings

PLACES: Final = 3  # numbers of a cursor
SETTINGS = takes_settings(CONNECTION | {"topics"})
NAME: Final = click.argument("name")
REASON: Final = takes_reason("--reason", "ack_timeout")
WITH_REASON: Final = takes_reason("--with-reason", "ack_timeout")
FILTERS: Final = takes_filters("events", "parked")
CIDS: Final = click.argument("cids", nargs=-1, metavar="[CID]...")


@click.group(cls=Commands)
def parked() -> None:
    """List, show, replay, discard or export the events that a subscriber could not take."""


@parked.command("list")
@NAME
@REASON
@FILTERS
@LIMIT
@CURSOR
@AS_JSON
@SETTINGS
def list_(
    settings: Settings, name: str, reason: str | None, limit: int, cursor: str | None, *, as_json: bool, **where: Any
) -> int:
    """List what is parked of the subscription NAME, by partition in the order of parking, a page at a time.

    A line ends with partition and offset of the record, which --stop-at takes.
    """
    choice, begin = _choice(reason=reason, **where), _place(cursor)
    found, following = _run(settings, lambda service: service.page(name, choice, begin, limit))
    if not found and cursor is None:
        refuse_unknown_event(choice.kind, choice.type)
    after = None if following is None else "-".join(map(str, following))
    if as_json:
        click.echo(orjson.dumps({"parked": [each._asdict() for each in found], "next": after}).decode())
        return DONE
    for each in found:
        named = (each.kind, each.aggregate_id, str(each.version), each.type, each.reason, each.parked_at)
        attempts = counted(each.attempts, "attempt")
        click.echo(f"{each.cid}  {'  '.join(text or NOT_SHOWN for text in named)}  {attempts}  {_where(each)}")
    if after is not None:
        click.echo(f"annals: there are more: --cursor {after}", err=True)
    return DONE


@parked.command()
@NAME
@click.argument("cid")
@AS_JSON
@SETTINGS
def show(settings: Settings, name: str, cid: str, *, as_json: bool) -> int:
    """Show the parked event CID of the subscription NAME as it was delivered last; exit status 1 if there is none."""
    choice = _choice_of((cid,))

    async def first(service: ParkedService) -> Found | None:
        async with aclosing(service.all(name, choice)) as found:
            async for each in found:
                return each
        return None

    found = _run(settings, first)
    if found is None:
        click.echo(f"annals: no event {cid} is parked of {name}", err=True)
        return ANSWER_IS_NO
    click.echo(orjson.dumps(_whole(found), option=0 if as_json else orjson.OPT_INDENT_2).decode())
    return DONE


@parked.command()
@NAME
@CIDS
@takes_which
@FILTERS
@REASON
@AS_JSON
@SETTINGS
def replay(settings: Settings, name: str, reason: str | None, *, as_json: bool, **which: Any) -> int:
    """Deliver parked events of the subscription NAME again: CIDs, those of an --aggregate, or --all.

    Each is taken from the journal as it is now, in the schema version that the subscription asks for, and has all
    attempts anew. Exit status 1 if none was parked.
    """
    return _decide(settings, name, "replay", which, reason=reason, why=None, as_json=as_json)


@parked.command()
@NAME
@CIDS
@takes_which
@FILTERS
@WHY
@WITH_REASON
@AS_JSON
@SETTINGS
def discard(settings: Settings, name: str, why: str, reason: str | None, *, as_json: bool, **which: Any) -> int:
    """Give up parked events of the subscription NAME, and let the next ones of their aggregates go.

    They stay in the journal. Exit status 1 if none was parked.
    """
    return _decide(settings, name, "discard", which, reason=reason, why=why, as_json=as_json)


@parked.command()
@NAME
@REASON
@FILTERS
@AS_LINES
@SETTINGS
def export(settings: Settings, name: str, reason: str | None, *, as_json: bool, **where: Any) -> int:  # noqa: ARG001 - it is JSON anyway
    """Print what is parked of the subscription NAME as it was delivered last, a JSON line each."""
    choice = _choice(reason=reason, **where)

    async def print_all(service: ParkedService) -> int:
        count = 0
        async with aclosing(service.all(name, choice)) as found:
            async for each in found:
                print_line(orjson.dumps(_whole(each)))
                count += 1
        return count

    count: int = _run(settings, print_all)
    flush()
    if not count:
        refuse_unknown_event(choice.kind, choice.type)
    return DONE


def _decide(
    settings: Settings,
    name: str,
    action: str,
    which: dict[str, Any],
    *,
    reason: str | None,
    why: str | None,
    as_json: bool,
) -> int:
    by, stop_at = which.pop("by") or login(), which.pop("stop_at")
    cids, is_all = which.pop("cids"), which.pop("is_all")
    require_one("CIDs", cids, which["aggregate"], is_all=is_all)
    choice = _choice(reason=reason, **which)
    if cids:
        choice = choice._replace(cids=_choice_of(cids).cids)

    async def decide(service: ParkedService) -> int:
        chosen = {"cids": list(cids), "stop_at": stop_at, **which}
        recording = partial(_record, settings, name, action, by, chosen, why)
        if why is None:
            return await service.replay(name, choice, stop_at, by, before=recording)
        return await service.discard(name, choice, stop_at, by, why, before=recording)

    count: int = _run(settings, decide)
    if not count:
        refuse_unknown_event(choice.kind, choice.type)
    if as_json:
        click.echo(orjson.dumps({"accepted": count}).decode())
    else:
        click.echo(f"{count} {'to be delivered again' if why is None else 'discarded'}")
    return DONE if count else ANSWER_IS_NO


async def _record(settings: Settings, name: str, action: str, by: str, chosen: dict[str, Any], why: str | None) -> None:
    """Record who decides what and why, before it is done, and not before it can be done."""
    from annals.schemas.audit import Decision
    from annals.schemas.values.moments import recorded_at
    from annals.topics.names import TopicNames
    from annals.workers.api.kafka_audit import KafkaAudit
    from annals.workers.clock import SystemClock, new_id
    from annals.workers.settings import client_options

    audit = KafkaAudit(client_options(settings), TopicNames(settings.topic_prefix).audit)
    at = recorded_at(SystemClock().now())
    try:
        await audit.write(Decision(new_id(), by, "POST", f"parked {action}", at, None, None, action, name, chosen, why))
    finally:
        await audit.stop()


def _where(parked: Parked) -> str:
    """Return partition and offset of a record in `parked.<name>`, as far as it is there."""
    return f"{parked.partition}-{NOT_SHOWN if parked.offset is None else parked.offset}"


def _choice(*, reason: str | None, **where: Any) -> Choice:
    from annals.agents.publishing.delivering.choosing import Choice

    return Choice(reason=reason, **filters(**where))


def _choice_of(cids: tuple[str, ...]) -> Choice:
    from annals.agents.publishing.delivering.choosing import Choice
    from annals.schemas.cid import parse_cid

    for cid in cids:
        try:
            parse_cid(cid)
        except ValueError as error:
            raise click.UsageError(f"{cid!r}: {error}") from None
    return Choice(cids=frozenset(cids))


def _place(cursor: str | None) -> Place:
    from annals.agents.publishing.delivering.choosing import FIRST, Place

    return FIRST if cursor is None else Place(*place_of(cursor, PLACES))


def _whole(found: Found) -> dict[str, Any]:
    from annals.workers.kafka.protocol.record_batches import headers_of
    from annals.workers.kafka.read.shown import record_json

    if found.headers is None:
        return found.parked._asdict()
    return {**found.parked._asdict(), **record_json(found.key, found.value, headers_of(found.headers))}


def _run(settings: Settings, ask: Callable[[ParkedService], Coroutine[Any, Any, Any]]) -> Any:
    from annals.agents.ports import JournalError
    from annals.agents.publishing.administration import Refused
    from annals.agents.reading.ports import NotReadyError
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.publishing.parked import ParkedService
    from annals.workers.registry import deciders
    from annals.workers.settings import client_options

    async def answer() -> Any:
        return await ask(ParkedService(settings, client_options(settings), deciders()))

    try:
        return asyncio.run(answer())
    except Refused as refused:
        click.echo(f"annals: {refused.code}: {refused}", err=True)
        raise click.exceptions.Exit(status_of(refused.status)) from refused
    except (FormatError, JournalError, MissingTopicError, NotReadyError) as error:
        raise CannotAskError(str(error)) from None
