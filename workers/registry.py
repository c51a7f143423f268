"""The aggregates that a worker serves: the project's own, and those that other distributions register.

An entry point of the group `annals.aggregates` names a kind and its decider; no fork of the project is needed.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from agents.aggregates import REGISTRY

if TYPE_CHECKING:
    from agents.decider import Decider

GROUP: Final = "annals.aggregates"


class RegistrationError(Exception):
    """An entry point does not register what it says; the message names it."""


@cache
def deciders() -> dict[str, Decider[Any]]:
    """Return all deciders by kind.

    Raises:
        RegistrationError: an entry point cannot be loaded, is no decider of its name, or takes a kind that exists.
    """
    found: dict[str, Decider[Any]] = dict(REGISTRY)
    for point in entry_points(group=GROUP):
        where = f"entry point {point.name} = {point.value} of {GROUP}"
        try:
            decider = point.load()
        except Exception as error:
            raise RegistrationError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if getattr(decider, "kind", None) != point.name:
            raise RegistrationError(f"{where} is no decider of the kind {point.name!r}")
        if point.name in found:
            raise RegistrationError(f"{where} registers a kind that exists already; choose another name")
        found[point.name] = decider
    return found
