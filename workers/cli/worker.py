"""`annals worker`: one worker in the foreground."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import click

from annals.workers.cli.failures import DONE, CannotAskError
from annals.workers.cli.options import EVERYTHING, takes_settings
from annals.workers.cli.stopping import STOP_SIGNALS, end_at_once_on_signals

if TYPE_CHECKING:
    from annals.workers.settings import Settings


@click.command()
@takes_settings(EVERYTHING)
def worker(settings: Settings) -> int:
    """Run a worker: it decides the commands of the partitions that it is assigned, until SIGTERM, SIGHUP or Ctrl-C.

    Start as many as there are partitions at the most; partitions move by themselves. GET /health/ready answers 200 when
    every partition assigned to it is restored; GET /metrics is for Prometheus.
    """
    end_at_once_on_signals()  # the imports take a second; from `run` on the worker ends in order
    from annals.workers.logs import configure_logs
    from annals.workers.process import CannotStartError
    from annals.workers.settings import WRITE

    configure_logs(settings)

    async def run() -> None:
        if settings.has(WRITE):
            from annals.workers.worker import Worker

            await Worker(settings).run()
        else:
            from annals.workers.reader_alone import run_alone

            await run_alone(settings)

    try:
        asyncio.run(run())
    except CannotStartError as error:
        raise CannotAskError(str(error)) from None
    finally:
        for number in STOP_SIGNALS:  # it has ended, whoever asks once more
            signal.signal(number, signal.SIG_IGN)
    return DONE
