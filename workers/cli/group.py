"""The group `annals`: which commands there are, and what their failures are to the shell.

Exit status: 0 done, 1 the answer is no, 2 it could not be asked (wrong usage or settings, no broker).
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from importlib import metadata
from typing import Any, Final

import click

from annals.workers.cli import INTERRUPTED
from annals.workers.cli.failures import COULD_NOT_ASK, CannotAskError, described
from annals.workers.cli.groups import Commands
from annals.workers.cli.output import OutputError, flush, guard_streams, print_nothing_more

# Name and the module and attribute that it is loaded from: `annals --help` imports none of them but to show their line.
COMMANDS: Final[dict[str, str]] = {
    "broker": "annals.workers.cli.broker:broker",
    "topics": "annals.workers.cli.topics:topics",
    "worker": "annals.workers.cli.worker:worker",
    "schemas": "annals.workers.cli.schemas:schemas",
    "send": "annals.workers.cli.send:send",
    "events": "annals.workers.cli.events:events",
    "aggregates": "annals.workers.cli.aggregates:aggregates",
    "state": "annals.workers.cli.state:state",
    "ask": "annals.workers.cli.questions:ask",
    "correlation": "annals.workers.cli.correlation:correlation",
    "stats": "annals.workers.cli.stats:stats",
    "snapshots": "annals.workers.cli.snapshots:snapshots",
    "projections": "annals.workers.cli.projections:projections",
    "verify": "annals.workers.cli.verify:verify",
    "journal": "annals.workers.cli.journal:journal",
    "replay": "annals.workers.cli.replay:replay",
    "subscriptions": "annals.workers.cli.subscriptions:subscriptions",
    "subscribe": "annals.workers.cli.subscribe:subscribe",
    "parked": "annals.workers.cli.parked:parked",
    "dead-letters": "annals.workers.cli.dead_letters:dead_letters",
    "reactions": "annals.workers.cli.reactions:reactions",
    "demo": "annals.workers.cli.demo:demo",
    "simulate": "annals.workers.cli.simulate:simulate",
    "new": "annals.workers.cli.new:new",
    "bench": "annals.workers.cli.bench:bench",
}
# What runs until it is stopped needs nobody who listens.
WITHOUT_OUTPUT: Final = frozenset({"worker", "broker"})


class LazyGroup(Commands):
    """A group that imports a command when it is run or its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the registry: the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(metadata.version("annals"), prog_name="annals")
def annals() -> None:
    """Event sourcing on Kafka: commands in, CID-chained events out, exactly once.

    Exit status: 0 done, 1 the answer is no, 2 it could not be asked. Every setting is an option, an environment
    variable (ANNALS_...) or a line of the TOML file that ANNALS_CONFIG names.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit; no failure that an operator can cause shows a traceback."""
    # Without a handler Python prints the libraries' warnings bare; the worker puts its own in this one's place.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    has_output = guard_streams()
    try:
        if not has_output:
            _require_no_output(sys.argv[1:] if arguments is None else arguments)
        status = annals.main(arguments, prog_name="annals", standalone_mode=False)
        flush()
    except click.exceptions.Abort:
        # Ctrl-C, where the command has no own meaning for it.
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
        _tell(error)
        sys.exit(COULD_NOT_ASK)
    sys.exit(status if isinstance(status, int) else 0)


def _require_no_output(arguments: list[str]) -> None:
    """Refuse, where standard output is closed, every command but those that run without being heard."""
    if not WITHOUT_OUTPUT.intersection(arguments[:1]):
        raise CannotAskError("there is no standard output to print the result to: nothing was done")


def _tell(error: Exception) -> None:
    """Say what kept a command from answering: what an operator can mend in a line each, a defect with its traceback."""
    if isinstance(error, OutputError):
        print_nothing_more()
        if error.is_reader_gone:
            return
    lines = described(error)
    if lines is None:
        traceback.print_exception(error)
        lines = ("this is a defect of annals: the lines above say where",)
    for line in lines:
        click.echo(f"annals: {line}", err=True)
