"""The aggregates that there are: the project's own, and those that other distributions register.

An entry point of the group `annals.aggregates` names a kind and its decider; no fork of the project is needed.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.decider import Decider
from annals.schemas.json_schemas.wire_schemas import WIRE

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "annals.aggregates"
KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
"""What fits into the names of topics, the URNs of schemas and the types of CloudEvents."""


class RegistrationError(Exception):
    """An entry point does not register what it says; the message names it."""


@cache
def deciders() -> dict[str, Decider[Any]]:
    """Return all deciders by kind.

    Raises:
        RegistrationError: an entry point cannot be loaded, is no decider of its name, or its kind is none or exists.
    """
    found: dict[str, Decider[Any]] = dict(REGISTRY)
    for point in entry_points(group=GROUP):
        where = f"entry point {point.name} = {point.value} of {GROUP}"
        try:
            decider = point.load()
        except Exception as error:
            raise RegistrationError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if not KIND.fullmatch(point.name) or point.name == WIRE:
            raise RegistrationError(f"{where}: a kind is 1 to 32 of a-z 0-9 _ - (a letter first), and not {WIRE!r}")
        if not isinstance(decider, Decider) or decider.kind != point.name:
            raise RegistrationError(f"{where} is no decider of the kind {point.name!r}")
        if point.name in found:
            raise RegistrationError(f"{where} registers a kind that exists already; choose another name")
        found[point.name] = decider
    return found


def registration_of(kind: str) -> EntryPoint | None:
    """Return the entry point by which another distribution registers a kind; None for the project's own."""
    return next(iter(entry_points(group=GROUP, name=kind)), None)
