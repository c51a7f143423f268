"""The measures of standbys, each taken out: what a mutation changes, for a test that must go red with it."""

from collections.abc import Callable
from typing import Any

import pytest

from annals.agents.folding.damage import DamagedStores
from annals.agents.writing import standby
from annals.agents.writing.recovery import opening
from annals.agents.writing.standby import Standby
from annals.topics.names import transactional_id
from annals.workers.kafka.read import stable_ends
from annals.workers.kafka.read.offsets import HIGH_WATERMARK
from annals.workers.kafka.write import standby as standby_log
from annals.workers.tools.simulation.standbys import Standbys

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

    class Kept(DamagedStores):
        async def set_aside(self, *_: Any) -> None:
            return None

    patch.setattr(standby, "DamagedStores", Kept)  # not that of shards that read or decide


def stable_end(patch: pytest.MonkeyPatch) -> None:
    """A standby waits for what is open in the journal as if it were committed."""
    patch.setattr(stable_ends, "LAST_STABLE", HIGH_WATERMARK)


def shorter_end(patch: pytest.MonkeyPatch) -> None:
    """A standby waits for more where the journal ends lower than what it folded."""
    follow: Any = Standby._follow

    async def patient(self: Any, fold: Any) -> None:
        log, moved = self._journal, type(self._journal).until_moved

        async def higher(offset: int) -> int:
            return max(offset, await moved(log, offset))

        log.until_moved = higher
        await follow(self, fold)

    patch.setattr(Standby, "_follow", patient)


def checksums(patch: pytest.MonkeyPatch) -> None:
    """A standby folds whatever a disk gives back."""
    read: Any = vars(standby_log)["read_range"]

    def unchecked(*asked: Any, is_checked: bool) -> Any:
        del is_checked
        return read(*asked)

    patch.setattr(standby_log, "read_range", unchecked)


def looking_again(patch: pytest.MonkeyPatch) -> None:
    """A standby that has stopped never looks again."""
    patch.setattr(standby, "STOPPED_S", 1e9)


def closing_first(patch: pytest.MonkeyPatch) -> None:
    """The standby of a partition goes on beside the shard that is opened there."""

    async def forget(self: Any, key: Any) -> None:
        self.all.pop(key)

    patch.setattr(Standbys, "close", forget)


MEASURES: list[Patch] = [
    proof_of_a_standby,
    proof_after_a_standby,
    last_record,
    no_fence,
    closing_a_failed_store,
    setting_aside,
    stable_end,
    shorter_end,
    checksums,
    looking_again,
    closing_first,
]
