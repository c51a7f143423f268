"""The command line: `annals` and its commands, each imported when it is asked for."""

from workers.cli.group import main

__all__ = ["main"]
