"""Which kinds the kit knows where a test names none: every one that is installed, as a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.agents import registered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.deciding.decider import Decider


def named_or_all(deciders: Mapping[str, Decider[Any]] | None) -> Mapping[str, Decider[Any]]:
    """Return the deciders that a test names, or, for None, all that are registered."""
    return registered.deciders() if deciders is None else deciders
