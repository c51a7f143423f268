"""How the demo looks: in colour with a spinner on a terminal, as plain lines when piped, not at all for JSON."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import click

MARKS: Final = {"ok": ("✓", "green"), "no": ("✗", "yellow"), "same": ("=", "cyan"), "wrong": ("✗", "bold red")}

Part = tuple[str, str]
"""A piece of a line, and its style in rich's words."""


class Status(Protocol):
    """What is shown while something takes its time."""

    def update(self, status: str) -> None:
        """Say something else from now on."""


class _Nothing:
    def update(self, status: str) -> None:
        """Show nothing."""


class Show:
    """Takes the story's lines. This one shows nothing, and is what `--json` takes."""

    def scene(self, title: str, meaning: str = "") -> None:
        """Begin something new."""
        self.say()
        self.say((title, "bold"))
        if meaning:
            self.say((f"  {meaning}", "dim"))

    def line(self, mark: str, *parts: Part) -> None:
        """Show a line that begins with one of `MARKS`."""
        sign, style = MARKS[mark]
        self.say((f"  {sign} ", style), *parts)

    def say(self, *parts: Part) -> None:
        """Show a line."""

    def waiting(self, what: str) -> AbstractContextManager[Status]:  # noqa: ARG002 - those who show it need it
        """Show that something is under way, as long as the block lasts."""
        return nullcontext(_Nothing())


class Plain(Show):
    """Lines of text, for pipes and files."""

    def say(self, *parts: Part) -> None:
        """Show a line."""
        click.echo("".join(text for text, _ in parts))


class Colour(Show):
    """A terminal."""

    def __init__(self) -> None:
        """Take the terminal."""
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

        self._console = Console(highlight=False)

    def say(self, *parts: Part) -> None:
        """Show a line."""
        from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

        self._console.print(Text.assemble(*parts), soft_wrap=True)

    def waiting(self, what: str) -> AbstractContextManager[Any]:
        """Show a spinner."""
        return self._console.status(what)
