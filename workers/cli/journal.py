"""`annals journal`: where a person decides about a journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import orjson

from annals.workers.cli.arguments import AS_JSON, KindType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.kept_heads import HEADS, heads_in
from annals.workers.cli.options import CONNECTION, takes_settings

if TYPE_CHECKING:
    from annals.workers.audit.acceptance import Comparison
    from annals.workers.settings import Settings


@click.group()
def journal() -> None:
    """Decide about a journal that workers do not go on with by themselves."""


@journal.command()
@click.argument("kind", type=KindType())
@HEADS
@click.option("--give-up", is_flag=True, help="Accept that what is listed as missing is gone for ever.")
@click.option("--dry-run", is_flag=True, help="Only say what would be accepted.")
@AS_JSON
@takes_settings(CONNECTION)
def accept(settings: Settings, kind: str, *, heads: str | None, give_up: bool, dry_run: bool, as_json: bool) -> int:
    """Compare the journal of KIND with what was known of it, and have workers go on with what is there.

    The journal is verified whole, and compared with kept heads and with the outcomes that Kafka still has. Exit status
    0 if workers go on now, or would anyway; 1 if something is missing and --give-up was not given, or with --dry-run if
    there is something to accept. A gap is never accepted. Start the worker again afterwards.
    """
    from annals.agents.ports import JournalError
    from annals.workers.audit import acceptance
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError

    async def compared_and_accepted() -> tuple[list[Comparison], list[int]]:
        deployment = acceptance.deployment_of(settings)
        compared = await acceptance.compare(deployment, kind, [] if heads is None else heads_in(heads, kind))
        chosen = [each for each in compared if each.is_acceptable(give_up=give_up)]
        if not dry_run:
            for each in chosen:
                await acceptance.accept(deployment, kind, each)
        return compared, [] if dry_run else [each.partition for each in chosen]

    try:
        compared, accepted = asyncio.run(compared_and_accepted())
    except (FormatError, JournalError, MissingTopicError, RangeGoneError) as error:
        raise CannotAskError(str(error)) from None
    if as_json:
        partitions = [each.as_json() | {"accepted": each.partition in accepted} for each in compared]
        click.echo(orjson.dumps({"kind": kind, "partitions": partitions}).decode())
    else:
        for each in compared:
            click.echo("\n".join(_lines(kind, each, is_accepted=each.partition in accepted)))
    is_done = all((each.matches and each.is_whole) or each.partition in accepted for each in compared)
    return DONE if is_done else ANSWER_IS_NO


def _lines(kind: str, found: Comparison, *, is_accepted: bool) -> list[str]:
    place, last = f"{kind}-{found.partition}", found.known.last
    lines = [f"{place}  broken: {reason}" for reason in found.broken]
    lines += [f"{place}  lost: {reason}" for reason in found.lost]
    for each in found.missing:
        version = "" if each.version is None else f" version {each.version}"
        lines.append(f"{place}  missing: {each.aggregate_id}{version} {each.cid}, by {each.said_by}")
    if found.more:
        lines.append(f"{place}  missing: {found.more:,} more events are not listed")
    there = f"{found.events:,} events, end {found.end}, the last {found.last or 'none'}"
    known = f"end {found.known_until}, the last {last or 'not known'}"
    if is_accepted:
        verdict = "accepted"
    elif found.broken:
        verdict = "broken: restore it"
    elif found.matches and found.is_whole:
        verdict = "nothing to accept"
    elif not found.is_acceptable(give_up=True):
        verdict = "workers go on with it; find out why something is missing"
    elif found.is_whole:
        verdict = "would be accepted"
    else:
        verdict = "not accepted: restore what is missing, or say --give-up"
    return [*lines, f"{place}  there: {there}; known: {known}; kept heads: {found.heads}: {verdict}"]
