"""The measures of reading shards, each taken out: what a mutation changes, for a test that must go red with it."""

from collections.abc import Callable
from typing import Any

import pytest

from annals.agents.reading.following.losses import Losses
from annals.agents.reading.keeping.layout import POSITION
from annals.workers.tools.simulation.reading_disks import RowHandle, RowStores

Patch = Callable[[pytest.MonkeyPatch], None]


async def yes(*_: Any) -> bool:
    return True


async def nothing(*_: Any) -> None:
    return None


def position_in_the_batch(patch: pytest.MonkeyPatch) -> None:
    """The position is written behind the rows that it is of."""
    apply = RowHandle.apply

    def in_two(self: Any, changes: Any) -> None:
        apply(self, {key: value for key, value in changes.items() if key != POSITION})
        if POSITION in changes:
            apply(self, {POSITION: changes[POSITION]})

    patch.setattr(RowHandle, "apply", in_two)


def proof_at_opening(patch: pytest.MonkeyPatch) -> None:
    """Rows are taken for a fold of this journal, whatever they are."""
    patch.setattr(Losses, "is_fold", yes)


def beginning_anew(patch: pytest.MonkeyPatch) -> None:
    """Rows that are no fold of this journal are gone on with."""

    async def same(self: Any, store: Any) -> Any:
        del self
        return store

    patch.setattr(RowStores, "renew", same)


def setting_aside(patch: pytest.MonkeyPatch) -> None:
    """A damaged store is not set aside."""
    patch.setattr(RowStores, "set_aside", nothing)


def hidden_event(patch: pytest.MonkeyPatch) -> None:
    """An event that a transaction hides at opening is never missed."""
    require: Any = Losses.require

    async def forgetting(self: Any, start: int, end: int) -> None:
        await require(self, start, end)
        self._hidden = None

    patch.setattr(Losses, "require", forgetting)


MEASURES: list[Patch] = [
    position_in_the_batch,
    proof_at_opening,
    beginning_anew,
    setting_aside,
    hidden_event,
]
