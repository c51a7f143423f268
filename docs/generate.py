"""Write the reference from the code; with `--check`, fail when a page is not what the code says.

Each page is made by one module of `generator` from what the code itself is run by: settings from their metadata, topics
from the catalogue, commands from the registry, and so on. Nothing here repeats a fact that the code has.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from generator import (
    command_line,
    errors,
    http_api,
    messages,
    metrics,
    permissions,
    projections,
    python_api,
    settings,
    topics,
    vectors,
)

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
NOTE = "<!-- Made from the code by `make docs`; change the code, not this page. -->\n\n"
PAGES = {
    "settings.md": settings.page,
    "cli.md": command_line.page,
    "commands.md": messages.page,
    "topics.md": topics.page,
    "errors.md": errors.page,
    "permissions.md": permissions.page,
    "http-api.md": http_api.page,
    "metrics.md": metrics.page,
    "projections.md": projections.page,
    "python-api.md": python_api.page,
    "vectors.json": vectors.document,
}


def main(arguments: list[str]) -> int:
    """Write the pages that differ, or say which do; 1 if any does."""
    stale = 0
    for name, page in PAGES.items():
        path = REFERENCE / name
        note = NOTE if path.suffix == ".md" else ""
        wanted = note + page().rstrip("\n") + "\n"
        found = path.read_text() if path.exists() else ""
        if wanted == found:
            continue
        stale += 1
        where = path.relative_to(ROOT)
        if arguments == ["--check"]:
            lines = difflib.unified_diff(
                found.splitlines(), wanted.splitlines(), str(where), "made from the code", "", "", 1
            )
            print(f"{where} is not what the code says: run `make docs`", *list(lines)[:20], sep="\n")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
            print(f"wrote {where}")
    return 1 if stale and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
