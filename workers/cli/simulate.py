"""`annals simulate`: do the promises hold, whatever happens?"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import click

from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.failures import ANSWER_IS_NO, DONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.tools.simulation.history import History
    from annals.workers.tools.simulation.survey import Survey

SHOWN_PROBLEMS = 5


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=100, show_default=True, help="How many histories.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The first one's seed.")
@click.option("--processes", type=click.IntRange(1, 1024), default=1, show_default=True, help="To share the work.")
@click.option("--trace", is_flag=True, help="Show what happens in each history.")
@AS_JSON
def simulate(seeds: int, seed: int, processes: int, *, trace: bool, as_json: bool) -> int:
    """Let histories happen in memory, with faults, and check what is left of each.

    Several workers decide commands over a model of Kafka, in virtual time: processes crash, disks are lost, requests
    and answers are lost, partitions move. The same seed gives the same history on every machine. The first that fails
    is made small and shown. Exit status 1 if one fails.
    """
    from annals.workers.tools.simulation.shrink import shrink
    from annals.workers.tools.simulation.survey import survey

    logging.disable(logging.CRITICAL)  # what aiokafka says of connections that break is part of each history
    found = survey(seed, seeds, _progress(seeds), processes)
    if as_json:
        import orjson

        click.echo(orjson.dumps(found.as_json()).decode())
        return ANSWER_IS_NO if found.failures else DONE
    if trace:
        _show_traces(seed, seeds)
    click.echo(_as_text(found))
    if not found.failures:
        return DONE
    from annals.workers.tools.simulation.history import run

    small = run(shrink(found.failures[0].plan))
    click.echo(f"\nthe first that failed, seed {small.plan.seed}, with what it takes to fail:")
    _show(small)
    return ANSWER_IS_NO


def _as_text(found: Survey) -> str:
    lines = [
        f"seed {each.plan.seed}  {problem}" for each in found.failures for problem in each.problems[:SHOWN_PROBLEMS]
    ]
    lines.append(
        f"{found.seeds} histories of {found.commands} commands in {found.seconds / 3600:.1f} virtual hours: "
        f"{len(found.failures)} failed; digest of all journals {found.digest}"
    )
    return "\n".join(lines)


def _show_traces(seed: int, seeds: int) -> None:
    from annals.workers.tools.simulation.history import run
    from annals.workers.tools.simulation.plan import plan_of

    for each in range(seed, seed + seeds):
        _show(run(plan_of(each)))


def _show(history: History) -> None:
    plan = history.plan
    click.echo(f"seed {plan.seed}, transactions of version {plan.transaction_version}, {plan.weather}")
    for sent in plan.commands:
        click.echo(f"{sent.at:9.3f} commands.{sent.kind}-{sent.partition} {sent.value.decode()}")
    for line in (*history.trace, *history.problems):
        click.echo(line)


def _progress(seeds: int) -> Callable[[int], None]:
    from annals.workers.tools.simulation.survey import silent

    def show(done: int) -> None:
        click.echo(f"\r{done} of {seeds} histories" + "\n" * (done == seeds), err=True, nl=False)

    return show if sys.stderr.isatty() else silent
