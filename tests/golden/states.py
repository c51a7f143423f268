"""Writes the golden layouts of the aggregates' states, for the versions that have none yet.

    .venv/bin/python tests/golden/states.py

A layout that is written is not overwritten: where a state's encoding changes, its `state_version` goes up by one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider

HERE = Path(__file__).parent / "states"


def golden(decider: Decider[Any]) -> Path:
    """Where the layout of the state's version is kept."""
    return HERE / f"{decider.kind}.{decider.state_version}.json"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    from annals.agents.aggregates import REGISTRY
    from annals.agents.deciding.state_layouts import layout

    for each in REGISTRY.values():
        if not golden(each).exists():
            golden(each).write_text(json.dumps(layout(each), indent=1) + "\n", encoding="utf-8")
            print("written:", golden(each).name)  # noqa: T201 -- a script that says what it did
