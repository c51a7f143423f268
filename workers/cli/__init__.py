"""The command line: `annals` and its commands, each imported when it is asked for."""

from annals.workers.cli.group import main

__all__ = ["main"]
