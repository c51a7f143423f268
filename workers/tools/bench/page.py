"""The page RESULTS.md beside its data: parts that are measured anew replace their older selves, the rest stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from annals.workers.tools.bench.figures import Part
from annals.workers.tools.bench.report import as_markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DATA: Final = "results.json"
PAGE: Final = "RESULTS.md"
REMARKS: Final = "remarks.md"


class Results(msgspec.Struct):
    """What the page is made from."""

    machine: dict[str, str]
    parts: list[Part]


def write_page(folder: Path, machine: Mapping[str, str], parts: Sequence[Part], order: Sequence[str]) -> Path:
    """Write the data and the page into a folder, with `remarks.md` of that folder at its end; return the page."""
    data = folder / DATA
    older = msgspec.json.decode(data.read_bytes(), type=Results).parts if data.exists() else []
    by_name = {part.name: part for part in [*older, *parts]}
    results = Results(dict(machine), [by_name[name] for name in order if name in by_name])
    folder.mkdir(parents=True, exist_ok=True)
    data.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    remarks = folder / REMARKS
    page = folder / PAGE
    page.write_text(
        as_markdown(results.machine, results.parts, remarks.read_text() if remarks.exists() else ""), encoding="utf-8"
    )
    return page
