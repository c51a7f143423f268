"""`annals worker`: one worker in the foreground."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from annals.workers.cli.failures import DONE, CannotAskError
from annals.workers.cli.options import EVERYTHING, takes_settings

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@takes_settings(EVERYTHING)
def worker(settings: Settings) -> int:
    """Run a worker: it decides the commands of the partitions that it is assigned, until SIGTERM or Ctrl-C.

    Start as many as there are partitions at the most; partitions move by themselves. GET /health/ready answers 200 when
    every partition assigned to it is restored; GET /metrics is for Prometheus.
    """
    from annals.workers.logs import configure_logs
    from annals.workers.worker import CannotStartError, Worker

    configure_logs(settings)

    async def run() -> None:
        await Worker(settings).run()

    try:
        asyncio.run(run())
    except CannotStartError as error:
        raise CannotAskError(str(error)) from None
    return DONE
