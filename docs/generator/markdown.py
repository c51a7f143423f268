"""The few forms of Markdown that the pages need."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell may not break its row."""
    lines = [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    spans = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    # Outside of code a bracket would begin an HTML element.
    return "".join(span if span.startswith("`") else span.replace("<", "&lt;") for span in spans)


def code(text: str) -> str:
    """Return the text as inline code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def first_sentence(docstring: str | None) -> str:
    """Return a docstring's first paragraph in one line."""
    return " ".join((docstring or "").strip().split("\n\n")[0].split())


def fenced(language: str, text: str) -> str:
    """Return a code block."""
    return f"```{language}\n{text.rstrip()}\n```\n"
