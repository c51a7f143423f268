"""`annals subscriptions`: who gets which events on a topic of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.failures import DONE, CannotAskError, status_of
from annals.workers.cli.files import name_of, whole
from annals.workers.cli.groups import Commands
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from annals.workers.publishing.followed_writer import Answered
    from annals.workers.publishing.service import SubscriptionService
    from annals.workers.settings import Settings

PAGE: Final = 100
SETTINGS = takes_settings(CONNECTION | {"topics"})
ETAGS: Final = {
    "etag_missing": "{name} exists: to replace it, give its ETag with --if-match; `annals subscriptions show {name}` "
    "prints it",
    "etag_differs": "{name} is not the one that --if-match names: it was changed meanwhile, or there is none; "
    "`annals subscriptions show {name}` says what there is",
}
"""What is said of refusals whose words are those of HTTP, by their codes."""


@click.group(cls=Commands)
def subscriptions() -> None:
    """List, show, put, pause, resume or delete subscriptions: who gets which events on a topic of its own."""


@subscriptions.command("list")
@AS_JSON
@SETTINGS
def list_(settings: Settings, *, as_json: bool) -> int:
    """List all subscriptions with how far they are behind; they are read and printed a page at a time."""
    pages = _pages(settings)
    if not as_json:
        for each in pages:
            click.echo(_line(each))
        return DONE
    before = '{"subscriptions":['
    for each in pages:
        click.echo(before + orjson.dumps(each.body).decode(), nl=False)
        before = ","
    click.echo((before if before != "," else "") + '],"next":null}')
    return DONE


@subscriptions.command()
@click.argument("name")
@AS_JSON
@SETTINGS
def show(settings: Settings, name: str, *, as_json: bool) -> int:
    """Show the subscription NAME, its positions and its topics."""
    return _print(_asked(settings, lambda service: service.get(name)), as_json=as_json)


@subscriptions.command()
@click.argument("name")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--if-match", metavar="ETAG", help="The ETag of the subscription that is replaced, as `show` prints it.")
@AS_JSON
@SETTINGS
def put(settings: Settings, name: str, file: str, *, if_match: str | None, as_json: bool) -> int:
    """Make the subscription NAME as FILE (JSON; - is standard input) says, or change it."""
    from annals.schemas.wire.strict_json import NotJsonError, parse_strict

    try:
        body, faults = parse_strict(whole(file, "a subscription"))
    except NotJsonError as error:
        raise CannotAskError(f"{name_of(file)}: {error}") from None
    if faults:  # as a member that is named twice: one of the two would be lost
        raise CannotAskError("; ".join(f"{name_of(file)}: {path} {message}" for path, message in faults))
    if not isinstance(body, dict):
        raise CannotAskError(f"{name_of(file)}: must be a JSON object")
    return _print(_asked(settings, lambda service: service.put(name, body, if_match), name), as_json=as_json)


@subscriptions.command()
@click.argument("name")
@AS_JSON
@SETTINGS
def pause(settings: Settings, name: str, *, as_json: bool) -> int:
    """Publish nothing more for NAME until it is resumed."""
    return _print(_asked(settings, lambda service: service.pause(name)), as_json=as_json)


@subscriptions.command()
@click.argument("name")
@AS_JSON
@SETTINGS
def resume(settings: Settings, name: str, *, as_json: bool) -> int:
    """Go on with NAME where it stopped."""
    return _print(_asked(settings, lambda service: service.resume(name)), as_json=as_json)


@subscriptions.command()
@click.argument("name")
@SETTINGS
def delete(settings: Settings, name: str) -> int:
    """Delete NAME. Its topic stays, and so does where it stopped: put again, it goes on from there."""
    _asked(settings, lambda service: service.delete(name))
    return DONE


def _pages(settings: Settings) -> Iterator[Answered]:
    after, is_end = "", False
    while not is_end:
        found, is_end = _asked(settings, partial(_page, after))
        yield from found
        after = found[-1].body["name"] if found else after


def _page(after: str, service: SubscriptionService) -> Awaitable[tuple[list[Answered], bool]]:
    return service.page(after, PAGE)


def _asked(settings: Settings, ask: Callable[[SubscriptionService], Awaitable[Any]], name: str = "NAME") -> Any:
    from annals.agents.publishing.administration import Refused
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.publishing.service import SubscriptionService
    from annals.workers.registry import deciders
    from annals.workers.settings import client_options

    service = SubscriptionService(settings, client_options(settings), deciders())

    async def answer() -> Any:
        return await ask(service)

    try:
        return asyncio.run(answer())
    except Refused as refused:
        said = ETAGS[refused.code].format(name=name) if refused.code in ETAGS else str(refused)
        lines = [f"{path}: {message}" for path, message in refused.errors] or [said]
        for line in lines:
            click.echo(f"annals: {refused.code}: {line}", err=True)
        raise click.exceptions.Exit(status_of(refused.status)) from refused
    except MissingTopicError as error:
        raise CannotAskError(str(error)) from None


def _print(found: Answered, *, as_json: bool) -> int:
    if as_json:
        click.echo(orjson.dumps({**found.body, "etag": found.etag}).decode())
    else:
        click.echo(_line(found))
        click.echo(f"  etag {found.etag}; topics {', '.join(found.body['topics'])}")
        for warned in found.body["warnings"]:
            click.echo(f"  warning: {warned['path']}: {warned['message']}")
        if deliveries := found.body["deliveries"]:
            numbers = "{unsettled} not settled, {in_flight} of them in flight, {parked} parked".format(**deliveries)
            click.echo(f"  deliveries: {numbers}")
        for kind, offsets in found.body["positions"].items():
            known = " ".join("-" if each is None else str(each) for each in offsets)
            click.echo(f"  next offsets in the journal of {kind}, by partition: {known}")
    return DONE


def _line(found: Answered) -> str:
    body = found.body
    reason = f": {body['reason']}" if body["reason"] else ""
    events = body["lag"]["events"]
    behind = f"{counted(events, 'event')} behind"
    return f"{body['name']}  {body['status']}  {body['delivery']}  {behind}{reason}"
