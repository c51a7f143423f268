"""For those who write aggregates: given/when/then, and the strategies and laws that every decider is held to.

`given`, and `given_events` for projections, need nothing more; the rest needs hypothesis (the extra `testing`) and is
imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from annals.agents.testing.projections import given_events
from annals.agents.testing.specification import given

__all__ = [  # noqa: F822 - the modules are loaded lazily
    "given",
    "given_events",
    "histories",
    "laws",
    "laws_of",
    "projection_laws_of",
    "strategies",
    "workbench",
]

_MODULES: Final = frozenset({"histories", "laws", "strategies", "workbench"})


def __getattr__(name: str) -> Any:
    """Import a part of the kit when it is first used (PEP 562)."""
    if name == "laws_of":
        return importlib.import_module("annals.agents.testing.suite").laws_of
    if name == "projection_laws_of":
        return importlib.import_module("annals.agents.testing.projection_suite").projection_laws_of
    if name not in _MODULES:
        raise AttributeError(f"module 'annals.testing' has no public name {name!r}")
    return importlib.import_module(f"annals.agents.testing.{name}")
