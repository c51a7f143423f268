"""What decides about a state's bytes: the members of the state and its parts, in order and with their types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider

Layout = dict[str, list[str]]


def layout(decider: Decider[Any]) -> Layout:
    """The members of the state and of each of its parts: snapshots of another layout cannot be read."""
    found: Layout = {}
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
