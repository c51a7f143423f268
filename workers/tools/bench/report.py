"""RESULTS.md, and the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.workers.tools.bench.figures import Figure, Part

LARGE: Final = 100
SMALL: Final = 1
HEAD: Final = """\
# Results

Written by `make bench` (`annals bench --write bench`); to make it again takes more than half an hour on an idle
machine. Each figure is the median of its runs, with the least and the most beside it. A target is held to the
median.
"""
ANSWERS: Final = {True: "yes", False: "**no**", None: ""}


def as_markdown(machine: Mapping[str, str], parts: Sequence[Part], remarks: str = "") -> str:
    """Return the page: machine, every part with its figures, and remarks at its end."""
    blocks = [HEAD, "## Machine and versions\n", _table(["what", "which"], [list(row) for row in machine.items()])]
    for part in parts:
        rows = [_row(figure) for figure in part.figures]
        header = ["figure", "median", "min", "max", "runs", "target", "met"]
        blocks += [
            f"## {part.title}\n",
            f"{part.method.strip()}\n",
            f"Measured {part.measured}.\n",
            _table(header, rows),
        ]
        blocks += [f"{note}\n" for note in part.notes]
    if remarks:
        blocks.append(remarks.strip() + "\n")
    return "\n".join(blocks)


def as_text(parts: Sequence[Part]) -> str:
    """Return the figures for a terminal."""
    lines = []
    for part in parts:
        lines.append(f"{part.title} (annals bench {part.name})")
        for figure in part.figures:
            name, median, least, most, runs, target, _ = _row(figure)
            is_met = {True: "ok", False: "MISSED", None: ""}[figure.is_met]
            spread = f"{least} … {most} in {runs}" if len(figure.values) > 1 else ""
            lines.append(f"  {name:<44} {median:>12}  {spread:<30} {target:<12} {is_met}".rstrip())
        lines += [f"  {note}" for note in part.notes]
    return "\n".join(lines)


def as_json(machine: Mapping[str, str], parts: Sequence[Part]) -> str:
    """Return one JSON document."""
    said: dict[str, Any] = {"machine": dict(machine), "parts": [part.as_json() for part in parts]}
    return orjson.dumps(said).decode()


def _row(figure: Figure) -> list[str]:
    unit = figure.unit
    if figure.most is not None:
        target = f"≤ {number(figure.most, unit)}"
    elif figure.least is not None:
        target = f"≥ {number(figure.least, unit)}"
    else:
        target = ""
    values = figure.values
    middle, low, high = (number(each, unit) for each in (figure.median, min(values), max(values)))
    return [figure.name, middle, low, high, str(len(values)), target, ANSWERS[figure.is_met]]


def number(value: float, unit: str) -> str:
    """Return a number as a reader wants it: three digits or so, with its unit."""
    if abs(value) >= LARGE or value == int(value):
        said = f"{value:,.0f}"
    elif abs(value) >= SMALL:
        said = f"{value:.1f}"
    else:
        said = f"{value:.2f}"
    return f"{said}{unit}" if unit.startswith("/") else f"{said} {unit}".rstrip()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
