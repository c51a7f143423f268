"""`annals broker`: a real Kafka in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from annals.workers.cli.failures import COULD_NOT_ASK, DONE
from annals.workers.cli.output import OutputError
from annals.workers.cli.stopping import end_at_once_on_signals

if TYPE_CHECKING:
    from annals.workers.tools.broker import Broker

LOOK_SECONDS: Final = 0.2
PORTS: Final = click.IntRange(0, 65535)


class _StoppedError(Exception):
    """Somebody asked for the end."""


@click.command()
@click.option("--port", type=PORTS, default=9092, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option("--data-dir", metavar="FOLDER", help="Where its data is kept [default: broker in ANNALS_DATA_DIR].")
@click.option("--advertised-port", type=PORTS, help="Port that clients are told to use: of a proxy in front of it.")
@click.option("--cache-dir", metavar="FOLDER", help="Where Kafka itself is kept [ANNALS_CACHE_DIR].")
def broker(port: int, data_dir: str | None, advertised_port: int | None, cache_dir: str | None) -> int:
    """Run a real single-node Apache Kafka on 127.0.0.1, in the foreground.

    No Docker and no installed Java are needed; the first start fetches Kafka (45 MB) from Maven Central, later
    ones need no network. It prints `ready 127.0.0.1:PORT` and runs until Ctrl-C, SIGTERM or the end of the process
    that started it. Its data is there again at the next start with the same folder. Exit status 2 if Kafka cannot be
    started, or ends by itself.
    """
    end_at_once_on_signals(signal.SIGINT)
    from annals.workers.settings import default_cache_dir, load_settings
    from annals.workers.tools.broker import Broker
    from annals.workers.tools.broker.jars import silent

    settings = load_settings({"cache_dir": cache_dir})
    folder = Path(data_dir) if data_dir else settings.data_dir / "broker"
    server = Broker(
        folder,
        port,
        advertised_port or None,
        cache_dir=settings.cache_dir or default_cache_dir(),
        progress=_progress if sys.stderr.isatty() else silent,
    )
    try:
        _stop_on_signals_and_with_parent(server)  # which may stop it before it returns
        server.start()
        click.echo(f"ready {server.bootstrap}")
        if sys.stderr.isatty():
            click.echo(f"data in {server.data_dir}; Ctrl-C stops it", err=True)
        server.wait()
    except _StoppedError:
        server.stop()
        return DONE
    except OutputError:
        server.stop()  # whoever started it does not learn where it is
        raise
    click.echo(f"annals: Kafka ended by itself; its log is {server.log_path}", err=True)
    return COULD_NOT_ASK


def _stop_on_signals_and_with_parent(server: Broker) -> None:
    def stop(*_: object) -> None:
        # Whoever asks twice does not want to wait.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, lambda *_: server.kill())
        raise _StoppedError

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()


def _end_with_parent(parent: int) -> None:
    # Asked of the kernel it would come when the parent's *thread* ends, which is too early for many a test.
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    click.echo(
        f"\rFetching Kafka from Maven Central, the first time only: {done} of {total} jars{end}", err=True, nl=False
    )
