"""`annals demo`: all of it, started for you, in a story."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from annals.workers.cli import INTERRUPTED
from annals.workers.cli.arguments import AS_JSON
from annals.workers.cli.failures import ANSWER_IS_NO, DONE, CannotAskError
from annals.workers.cli.stopping import end_at_once_on_signals, interrupt_on_signals

if TYPE_CHECKING:
    from annals.workers.tools.demo.show import Show


@click.command()
@click.option("--data-dir", metavar="FOLDER", help="Keep the data there; another run goes on with the same chains.")
@AS_JSON
def demo(data_dir: str | None, *, as_json: bool) -> int:
    """Start a Kafka broker and two workers on free ports, tell a story, prove it, and clean up.

    A lab opens, people join it, an agent is hired and does research, which reactions hand on. Some wishes are refused
    on purpose (✗), one command is sent twice, questions are asked over HTTP, a subscriber parks an event and takes it
    when it is replayed, two commands come at once, a worker is killed with commands in its hands, and a copy of the
    journal is tampered with. All of it is checked while it is told: exit status 1, and what differed, if anything was
    not as it should be.

    It needs no Docker, no Java and nothing else that runs; the first time it fetches Kafka (45 MB). It takes less than
    a minute, and leaves neither a process nor, without --data-dir, a folder.
    """
    # However it is asked to end, it ends as after a Ctrl-C: in order, with nothing left. In a script's background job
    # that one is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_at_once_on_signals(signal.SIGINT, status=INTERRUPTED)  # the imports take a second, and begin nothing
    from annals.workers.tools.demo.memory import NotOurFolderError
    from annals.workers.tools.demo.run import run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt_on_signals()
    try:
        found = run(_show(as_json=as_json), Path(data_dir) if data_dir else None)
    except NotOurFolderError as error:
        raise CannotAskError(str(error)) from None
    if as_json:
        import orjson

        click.echo(orjson.dumps(found).decode())
    return DONE if found["differed"] is None else ANSWER_IS_NO


def _show(*, as_json: bool) -> Show:
    from annals.workers.tools.demo.show import Colour, Plain, Show

    if as_json:
        return Show()
    return Colour() if sys.stdout.isatty() else Plain()
