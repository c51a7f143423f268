"""The measures of reading shards, each taken out: what a mutation changes, for a test that must go red with it."""

from collections.abc import Callable
from typing import Any

import pytest

from annals.agents.reading.following.losses import Losses
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.keeping.layout import POSITION
from annals.workers.tools.simulation.plan import Fault, Plan, Weather, plan_of
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


async def no(*_: Any) -> bool:
    return False


def loss_in_the_store(patch: pytest.MonkeyPatch) -> None:
    """A store that alone knows what the journal lost is begun anew, and nobody is told."""
    patch.setattr(Losses, "_knows_any_of", no)


def acknowledged(patch: pytest.MonkeyPatch) -> None:
    """What those who write acknowledged is not looked for at opening."""
    patch.setattr(Losses, "require", nothing)


def doubt(patch: pytest.MonkeyPatch) -> None:
    """A shard believes what comes, whoever leads the partition by now."""
    patch.setattr(Losses, "doubt", lambda self: None)


def comparing_ends(patch: pytest.MonkeyPatch) -> None:
    """A shard does not compare where its journal ends with what it knew."""
    patch.setattr(Shard, "compare", lambda self, asked, start, end: self.note_end(end))


FORCED: dict[Patch, tuple[str, ...]] = {
    loss_in_the_store: ("offset_reset", "journal_cut_at_work", "readers_end"),
    acknowledged: ("journal_cut_at_work", "crash_without_disk"),
    doubt: ("cut_behind_readers",),
    comparing_ends: ("journal_lost_at_opening",),
}
"""The faults, one right behind another, of a history that needs a measure: chance brings them together too seldom."""


def forced(faults: tuple[str, ...]) -> Plan:
    """Return the commands of seed 0 with nothing but these faults, from the midst on."""
    plan = plan_of(0)
    middle = plan.commands[-1].at / 2
    return plan._replace(
        faults=tuple(Fault(middle + 0.01 * number, what, 0, 0.0) for number, what in enumerate(faults)),
        weather=Weather(),
        has_standbys=False,
        has_readers=True,
        has_publishers=False,
    )


MEASURES: list[Patch] = [
    position_in_the_batch,
    proof_at_opening,
    beginning_anew,
    setting_aside,
    hidden_event,
]
