"""`annals verify`: is every event what it was?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from annals.workers.cli.arguments import AS_JSON, CidType, IdType, KindType
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.kept_heads import HEADS, heads_in
from annals.workers.cli.options import CONNECTION, takes_settings
from annals.workers.cli.output import counted

if TYPE_CHECKING:
    from annals.workers.audit.report import Report
    from annals.workers.settings import Settings


@click.command()
@click.argument("kind", type=KindType(), required=False)
@click.argument("aggregate_id", type=IdType(), metavar="[ID]", required=False)
@AS_JSON
@click.option("--tolerate-void", is_flag=True, help="Count void and foreign records, but let them pass.")
@click.option("--expect-head", type=CidType(), metavar="CID", help="A head that the aggregate's chain must contain.")
@click.option("--from-head", type=CidType(), metavar="CID", help="A head that is trusted: verify what came after it.")
@HEADS
@click.option("--processes", type=click.IntRange(1, 1024), help="Processes to share the work [default: one per core].")
@takes_settings(CONNECTION)
def verify(
    settings: Settings,
    kind: str | None,
    aggregate_id: str | None,
    *,
    as_json: bool,
    tolerate_void: bool,
    expect_head: bytes | None,
    from_head: bytes | None,
    heads: str | None,
    processes: int | None,
) -> int:
    """Compute every CID and link again, from Kafka, and compare the headers with the blocks.

    Of all kinds, of one KIND, or of the aggregate ID. Exit status 1 at a gap, a differing header, anything void or
    foreign, or offsets that cannot be read, and for an aggregate without events. A chain proves that its events are
    unaltered given its head: keep the heads that outcomes hand out, and give one with --expect-head, or all of a KIND
    with --heads; only that shows a cut-off end, an aggregate that is gone, or a history made anew.

    Memory grows with the number of aggregates in a partition (some 300 bytes each), not with that of events.
    """
    from annals.workers.audit.processes import SurveyError
    from annals.workers.audit.verify import silent, verify_aggregate, verify_journals
    from annals.workers.kafka.connections import MissingTopicError
    from annals.workers.kafka.protocol.record_batches import FormatError
    from annals.workers.kafka.read.ranges import RangeGoneError
    from annals.workers.registry import deciders

    if (expect_head or from_head) and aggregate_id is None:
        raise click.UsageError("--expect-head and --from-head are about one aggregate: give KIND and ID.")
    if heads is not None and (kind is None or aggregate_id is not None):
        raise click.UsageError("--heads is about all aggregates of one kind: give KIND, and no ID.")
    progress = _progress if sys.stderr.isatty() else silent
    try:
        if kind is None or aggregate_id is None:
            report = verify_journals(
                settings,
                list(deciders()) if kind is None else [kind],
                tolerates_void=tolerate_void,
                heads=None if heads is None or kind is None else heads_in(heads, kind),
                processes=processes,
                progress=progress,
            )
        else:
            report = verify_aggregate(
                settings,
                kind,
                aggregate_id,
                tolerates_void=tolerate_void,
                expected_head=expect_head,
                trusted_head=from_head,
                processes=processes,
                progress=progress,
            )
    except (FormatError, MissingTopicError, RangeGoneError, SurveyError) as error:
        raise CannotAskError(str(error)) from None
    click.echo(_as_json(report) if as_json else _as_text(report))
    return DONE if report.is_good else ANSWER_IS_NO


def _as_json(report: Report) -> str:
    import orjson

    return orjson.dumps(report.as_json()).decode()


def _as_text(report: Report) -> str:
    lines = [f"broken  {place}" for place in report.broken]
    if report.more:
        lines.append(f"broken  {report.more} more places are not listed")
    found = f"{counted(report.events, 'event')} of {counted(report.aggregates, 'aggregate')}"
    found += f", {report.void} void, {report.foreign} foreign"
    if report.kept_heads is not None:
        found += f", compared with {counted(report.kept_heads, 'kept head')}"
    if report.is_good:
        lines.append(f"{found}: every CID and link is right, and all headers agree with their blocks")
    else:
        lines.append(f"{found}: not as it should be")
    return "\n".join(lines)


def _progress(done: int, total: int) -> None:
    click.echo(
        f"\rVerifying: {done:,} of {total:,} offsets ({100 * done // max(1, total)} %)" + "\n" * (done == total),
        err=True,
        nl=False,
    )
