"""`annals bench`: the benchmarks, with the machine and versions beside the figures."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from annals.workers.cli.failures import DONE, CannotAskError
from annals.workers.tools.bench.plan import FULL, PARTS, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.tools.bench.figures import Part
    from annals.workers.tools.bench.plan import Plan


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[PART]...")
@click.option("--quick", is_flag=True, help="Run through it in small: the figures say nothing.")
@click.option("--runs", type=click.IntRange(1, 1_000), help="How often each is measured [default: 3, quick: 1].")
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="Brokers to measure on [default: one of its own].")
@click.option("--folder", metavar="FOLDER", help="Where to keep data meanwhile [default: a temporary folder].")
@click.option("--write", metavar="FOLDER", help="Write RESULTS.md and results.json there; other parts' figures stay.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document.")
def bench(
    parts: tuple[str, ...],
    runs: int | None,
    bootstrap_servers: str | None,
    folder: str | None,
    write: str | None,
    *,
    quick: bool,
    as_json: bool,
) -> int:
    """Measure what this project promises, beside baselines in the same run; without PARTs all of it.

    A PART is one of drain, backlog, latency, takeover, standby, fold, restore, verify, append, memory, sizes, scaling,
    pause, subscribe, deliver, domain, size and read.

    It starts a broker of its own on a free port, and removes what it has made. All of it takes more than half an hour,
    and standard error says what it is at; what else the machine does meanwhile is measured too.
    """
    from annals.workers.tools.bench.machine import describe
    from annals.workers.tools.bench.page import write_page
    from annals.workers.tools.bench.report import as_json as json_document
    from annals.workers.tools.bench.report import as_text

    plan = QUICK if quick else FULL
    if runs is not None:
        plan = replace(plan, runs=runs)
    machine = describe(own_broker=bootstrap_servers is None)
    found = _measured(parts or PARTS, plan, bootstrap_servers, folder)
    click.echo(json_document(machine, found) if as_json else as_text(found))
    if write is not None:
        page = write_page(Path(write), machine, found, PARTS)
        click.echo(f"written to {page}", err=True)
    return DONE


def _measured(names: Sequence[str], plan: Plan, bootstrap: str | None, folder: str | None) -> list[Part]:
    from annals.workers.tools.bench.programs import BenchError
    from annals.workers.tools.bench.run import measure

    try:
        with tempfile.TemporaryDirectory(prefix="annals-bench-", dir=folder) as work:
            return asyncio.run(measure(names, plan, bootstrap, Path(work), _telling()))
    except asyncio.CancelledError:
        raise click.Abort from None
    except BenchError as error:
        raise CannotAskError(str(error)) from None


def _telling() -> Callable[[str], None]:
    """Return what says on standard error how far it is, and after how many seconds; also where nobody watches."""
    began = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"… {time.monotonic() - began:.0f} s: {what}", err=True)

    return say
