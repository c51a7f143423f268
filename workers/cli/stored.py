"""`annals schemas usage` and `migrate`: what is stored, by type and version, and whether this release reads it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

import click

from annals.workers.cli.arguments import KindType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.options import takes_settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from annals.workers.settings import Settings

T = TypeVar("T")


@click.command()
@click.argument("kind", type=KindType(), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each type and version.")
@takes_settings()
def usage(settings: Settings, kind: str | None, *, as_json: bool) -> int:
    """Count the stored events of all kinds, or of KIND, by type and schema version, from Kafka.

    Void events are stored, too, and are counted. Exit status 1 if this release does not know a type or version.
    """
    from annals.workers.maintenance.usage import usage as count

    found = _asked(count(settings, _kinds(kind)))
    for each in found:
        if as_json:
            said = {"kind": each.kind, "type": each.type, "version": each.version, "events": each.events}
            click.echo(json.dumps({**said, "known": each.is_known}))
        else:
            unknown = "" if each.is_known else "  unknown to this release"
            click.echo(f"{each.events:>12,}  {each.kind} {each.type} {each.version}{unknown}")
    return DONE if all(each.is_known for each in found) else ANSWER_IS_NO


@click.command()
@click.argument("kind", type=KindType(), required=False)
@click.option("--dry-run", is_flag=True, help="Read everything, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
@takes_settings()
def migrate(settings: Settings, kind: str | None, *, dry_run: bool, as_json: bool) -> int:
    """Read every stored event of all kinds, or of KIND, through the upcasters, and make outdated snapshots anew.

    Events are never written. Exit status 1 if this release cannot read an event: each is named by its CID, and nothing
    is written. Workers may be running; their stores are folded anew by themselves where a state version changed.
    """
    from annals.workers.maintenance.migration import migrate as run

    result = _asked(run(settings, _kinds(kind), dry_run=dry_run))
    if as_json:
        failures = [failure._asdict() for failure in result.failures]
        said = {**result._asdict(), "failures": failures}
        if not result.too_large:
            del said["too_large"]
        if not result.more:
            del said["more"]
        click.echo(json.dumps(said))
    else:
        for failure in result.failures:
            click.echo(
                f"{failure.cid}  {failure.kind} {failure.aggregate_id} version {failure.version}: {failure.reason}"
            )
        click.echo(
            f"{result.events:,} events, {result.upcast:,} of them in a former version, "
            f"{len(result.failures) + result.more:,} that cannot be read; {result.outdated:,} snapshots out of "
            f"date, {result.rewritten:,} of them made anew"
        )
        for each in result.too_large:
            click.echo(f"the snapshot of {each} is larger than its topic takes, and left out")
    return ANSWER_IS_NO if result.failures else DONE


def _kinds(kind: str | None) -> list[str]:
    from annals.workers.registry import deciders

    return list(deciders()) if kind is None else [kind]


def _asked(question: Coroutine[Any, Any, T]) -> T:
    """The answer; what an operator can mend is said in one line."""
    from annals.agents.ports import StoppedError
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError

    try:
        return asyncio.run(question)
    except (FormatError, MissingTopicError, RangeGoneError, StoppedError) as error:
        raise CannotAskError(str(error)) from None
