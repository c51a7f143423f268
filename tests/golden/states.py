"""Writes the golden layouts of the aggregates' states, for the versions that have none yet.

    .venv/bin/python tests/golden/states.py

A layout that is written is not overwritten: where a state's encoding changes, its `state_version` goes up by one.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

if TYPE_CHECKING:
    from agents.decider import Decider

HERE = Path(__file__).parent / "states"


def layout(decider: Decider[Any]) -> dict[str, list[str]]:
    """What decides about a state's bytes, for the state and each of its parts: the members in order, with types."""
    found: dict[str, list[str]] = {}
    waiting: list[Any] = [decider.state_type]
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) and annotation.__name__ not in found:
            members = get_type_hints(annotation)
            found[annotation.__name__] = [f"{name}: {_name(hint)}" for name, hint in members.items()]
            waiting += members.values()
    return found


def _name(hint: Any) -> str:
    """A type without the module that it is in: moving it changes no byte."""
    return re.sub(r"[a-z_]+\.", "", hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint))


def golden(decider: Decider[Any]) -> Path:
    """Where the layout of the state's version is kept."""
    return HERE / f"{decider.kind}.{decider.state_version}.json"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from agents.aggregates import REGISTRY

    for each in REGISTRY.values():
        if not golden(each).exists():
            golden(each).write_text(json.dumps(layout(each), indent=1) + "\n", encoding="utf-8")
            print("written:", golden(each).name)  # noqa: T201 -- a script that says what it did
