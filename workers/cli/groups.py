"""Groups of commands that say each command's first sentence whole, and which one was meant."""

from __future__ import annotations

from typing import Final

import click

from annals.schemas.suggestion import meant

LONGEST_SUMMARY: Final = 1_000


class Commands(click.Group):
    """A group whose help is not cut and whose mistyped commands are recognised."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command's name and the first sentence of its help."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(LONGEST_SUMMARY)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of these arguments; one that there is not is refused with what was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            error.message += meant(args[0], self.list_commands(ctx))
            raise
