"""The measures of standbys, each taken out: what a mutation changes, for a test that must go red with it."""

from collections.abc import Callable
from typing import Any

import pytest

from annals.agents.writing import standby
from annals.agents.writing.recovery import opening
from annals.agents.writing.standby import Standby
from annals.topics.names import transactional_id

Patch = Callable[[pytest.MonkeyPatch], None]


async def yes(*_: Any) -> bool:
    return True


async def nothing(*_: Any) -> None:
    return None


def proof_of_a_standby(patch: pytest.MonkeyPatch) -> None:
    """A standby takes its store for a fold of this journal, whatever it is."""
    patch.setattr(standby, "is_a_fold_of", yes)


def proof_after_a_standby(patch: pytest.MonkeyPatch) -> None:
    """A shard trusts the store that a standby left."""
    patch.setattr(opening, "is_a_fold_of", yes)


def last_record(patch: pytest.MonkeyPatch) -> None:
    """A standby folds on without looking whether the journal still has what it folded last."""
    patch.setattr(Standby, "_require_last_record", nothing)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A standby becomes the journal's writer as it opens."""
    open_: Any = Standby._open

    async def fencing(self: Any) -> Any:
        kind, partition = self.place.kind, self.place.partition
        world = self._stores._process.world
        world.model.init_producer_id(transactional_id(world.names.events(kind), partition), 10_000)
        return await open_(self)

    patch.setattr(Standby, "_open", fencing)


def closing_a_failed_store(patch: pytest.MonkeyPatch) -> None:
    """A standby goes on with a store that failed."""
    patch.setattr(Standby, "_close_store", nothing)


def setting_aside(patch: pytest.MonkeyPatch) -> None:
    """A standby does not set a damaged store aside."""
    patch.setattr("annals.agents.folding.damage.DamagedStores.set_aside", nothing)


MEASURES: list[Patch] = [
    proof_of_a_standby,
    proof_after_a_standby,
    last_record,
    no_fence,
    closing_a_failed_store,
    setting_aside,
]
