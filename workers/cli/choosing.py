"""Options that say which of the records that were set aside are meant: dead letters and parked events."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any, Final

import click

from annals.workers.cli.arguments import KindType
from annals.workers.cli.failures import CannotAskError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[..., Any]

PAGE: Final = 100
MOST: Final = 1_000
LONGEST_NUMBER: Final = 19  # digits of an offset
NOT_SHOWN: Final = "-"
LIMIT: Final = click.option(
    "--limit", type=click.IntRange(1, MOST), default=PAGE, show_default=True, help="At most so many."
)
CURSOR: Final = click.option("--cursor", metavar="TEXT", help="Where the page begins, as the page before says.")
WHY: Final = click.option("--reason", "why", required=True, metavar="TEXT", help="Why; it is kept in the audit.")


def takes_filters(what: str, when: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --kind, --type, --aggregate, --since and --until.

    For the help texts: what is chosen, in the plural (`events`), and what happened to it at these times (`parked`).
    """

    def decorate(command: Command) -> Command:
        for option in reversed(
            (
                click.option("--kind", type=KindType(), help=f"Only {what} of this kind of aggregates."),
                click.option("--type", "type_name", help=f"Only {what} of this type."),
                click.option("--aggregate", metavar="KIND/ID", help=f"Only {what} of this aggregate."),
                click.option("--since", metavar="RFC3339", help=f"Only what was {when} at this moment or later."),
                click.option("--until", metavar="RFC3339", help=f"Only what was {when} before this moment."),
            )
        ):
            command = option(command)
        return command

    return decorate


def takes_reason(option: str, example: str) -> Callable[[Command], Command]:
    """Return a decorator that adds an option to choose by reason. example: a reason, for the help text."""
    return click.option(option, "reason", help=f"Only those of this reason, as {example}.")


def takes_which(command: Command) -> Command:
    """Add --all, --stop-at and --by to a command that replays or discards what is chosen."""
    for option in reversed(
        (
            click.option("--all", "is_all", is_flag=True, help="All that are open, or all that the filters pass."),
            click.option("--stop-at", type=click.IntRange(0), metavar="OFFSET", help="Only those before this offset."),
            click.option("--by", default=None, metavar="NAME", help="Who does it, for the audit; default: the login."),
        )
    ):
        command = option(command)
    return command


def filters(
    *, kind: str | None, type_name: str | None, aggregate: str | None, since: str | None, until: str | None
) -> dict[str, Any]:
    """Return what the options of `takes_filters` say."""
    aggregate_id = None
    if aggregate is not None:
        named, slash, aggregate_id = aggregate.partition("/")
        if not slash or kind not in {None, named}:
            raise click.UsageError("--aggregate is KIND/ID, of the --kind if that is given")
        kind = KindType().convert(named, None, None)
    return {
        "kind": kind,
        "type": type_name,
        "aggregate_id": aggregate_id,
        "since": _moment("--since", since),
        "until": _moment("--until", until),
    }


def refuse_unknown_event(kind: str | None, type_name: str | None) -> None:
    """Refuse a type of events that there is not. For who found none: those of another release may be parked, too.

    Raises:
        CannotAskError: this release has no such type; the message says which was meant.
    """
    from annals.workers.registry import deciders, unknown_event

    said = None if type_name is None else unknown_event(type_name, list(deciders()) if kind is None else [kind])
    if said is not None:
        raise CannotAskError(f"--type: {said}")


def refuse_unknown_command(kind: str | None, type_name: str | None, reason: str | None) -> None:
    """Refuse a type of commands, or a reason, that there is not. For who found none: a dead letter may be of any type.

    Raises:
        CannotAskError: this release has none such; the message says which was meant.
    """
    from annals.schemas.wire.dead_letter import unknown_reason
    from annals.workers.registry import deciders, unknown_command

    said = None if type_name is None else unknown_command(type_name, list(deciders()) if kind is None else [kind])
    if said is not None:
        raise CannotAskError(f"--type: {said}")
    said = None if reason is None else unknown_reason(reason)
    if said is not None:
        raise CannotAskError(said)


def require_one(what: str, named: Sequence[Any], aggregate: str | None, *, is_all: bool) -> None:
    """Raise a UsageError where not exactly one says which are meant. what: is named, in the plural."""
    if (bool(named) + (aggregate is not None) + is_all) != 1:
        raise click.UsageError(f"name {what}, or --aggregate KIND/ID, or --all")


def login() -> str:
    """Return who runs this, for the audit: of a user without a name, as containers have them, the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def place_of(cursor: str, count: int) -> list[int]:
    """Return the numbers of a cursor; UsageError if they are not so many."""
    numbers = cursor.split("-")
    if len(numbers) != count or not all(each.isdecimal() and len(each) <= LONGEST_NUMBER for each in numbers):
        raise click.UsageError(f"--cursor {cursor!r} is none that a page gave")
    return list(map(int, numbers))


def _moment(option: str, text: str | None) -> str | None:
    from annals.schemas.values.moments import bound_of, recorded_at

    try:
        return None if text is None else recorded_at(bound_of(text))
    except ValueError as error:
        raise click.UsageError(f"{option} {text!r}: {error}") from None
