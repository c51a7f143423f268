"""`annals reactions`: process managers that send commands by events and by time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
import orjson

from annals.workers.cli.arguments import AS_JSON, ReactionType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError, status_of
from annals.workers.cli.groups import Commands
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.workers.publishing.followed_writer import Answered
    from annals.workers.reacting.service import ReactionService
    from annals.workers.settings import Settings

SETTINGS = takes_settings(CONNECTION | {"topics"})


NAME = click.argument("name", type=ReactionType())


@click.group(cls=Commands)
def reactions() -> None:
    """List, show, pause or resume reactions, which send commands by events and by time.

    A reaction does nothing until it is resumed for the first time; then it reacts to what comes from then on.
    """


@reactions.command("list")
@AS_JSON
@SETTINGS
def list_(settings: Settings, *, as_json: bool) -> int:
    """List all reactions with whether they run and how far they are behind."""
    found = _asked(settings, lambda service: service.all())
    if as_json:
        click.echo(orjson.dumps({"reactions": [each.body for each in found], "next": None}).decode())
    for each in () if as_json else found:
        click.echo(_line(each))
    return DONE


@reactions.command()
@NAME
@AS_JSON
@SETTINGS
def status(settings: Settings, name: str, *, as_json: bool) -> int:
    """Say whether the reaction NAME runs, where it stands on each partition, and which timers it has.

    Where it has failed, it says at which event and why; then the exit status is 1.
    """
    found = _asked(settings, lambda service: service.get(name))
    _print(found, as_json=as_json)
    return ANSWER_IS_NO if found.body["failed"] else DONE


@reactions.command()
@NAME
@click.option("--reason", metavar="TEXT", help="Why; `list` and `status` show it.")
@AS_JSON
@SETTINGS
def pause(settings: Settings, name: str, reason: str | None, *, as_json: bool) -> int:
    """Have NAME neither react nor fire timers until it is resumed."""
    return _print(_asked(settings, lambda service: service.pause(name, reason)), as_json=as_json)


@reactions.command()
@NAME
@AS_JSON
@SETTINGS
def resume(settings: Settings, name: str, *, as_json: bool) -> int:
    """Go on with NAME where it stopped; timers whose time has come meanwhile fire at once."""
    return _print(_asked(settings, lambda service: service.resume(name)), as_json=as_json)


def _asked(settings: Settings, ask: Callable[[ReactionService], Awaitable[Any]]) -> Any:
    from annals.agents.publishing.administration import Refused
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.reacting.service import ReactionService
    from annals.workers.registry import reactions as registered
    from annals.workers.settings import client_options

    service = ReactionService(settings, client_options(settings), registered())

    async def answer() -> Any:
        return await ask(service)

    try:
        return asyncio.run(answer())
    except Refused as refused:
        click.echo(f"annals: {refused.code}: {refused}", err=True)
        raise click.exceptions.Exit(status_of(refused.status)) from refused
    except MissingTopicError as error:
        raise CannotAskError(str(error)) from None


def _print(found: Answered, *, as_json: bool) -> int:
    body = found.body
    if as_json:
        click.echo(orjson.dumps({**body, "etag": found.etag}).decode())
        return DONE
    click.echo(_line(found))
    for kind, offsets in body["positions"].items():
        whose = f" of {body['deployment']}" if body["deployment"] else ""
        known = " ".join("-" if each is None else str(each) for each in offsets) or "not known"
        click.echo(f"  next offsets in the journal of {kind}{whose}, by partition: {known}")
    for each in body["failed"]:
        click.echo(f"  {each['kind']}-{each['partition']}: {each['reason']}")
    if "timers" in body:
        due = body["timers"]["next_due"]
        click.echo(f"  timers: {body['timers']['pending']}" + (f", the next one at {due}" if due else ""))
    return DONE


def _line(found: Answered) -> str:
    body = found.body
    reason = f": {body['reason']}" if body["reason"] else ""
    events = body["lag"]["events"]
    behind = "how far behind is not known" if events is None else f"{counted(events, 'event')} behind"
    whose = f"  on events of {body['deployment']}" if body["deployment"] else ""
    failed = "  failed" if body["failed"] else ""
    return f"{body['name']}  version {body['version']}  {body['status']}{failed}  {behind}{whose}{reason}"
