"""Faults where a partition has a standby: it takes over, lags behind, or alone knows what the journal had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.workers.tools.simulation.group import KEYS
from annals.workers.tools.simulation.plan import LONGEST_S

if TYPE_CHECKING:
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.faults import Faults
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.world import World

MOST_DAMAGES: Final = 2  # of one shard's stores: the fourth within an hour is left to a person


class StandbyFaults:
    """Carries these out."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Take the world, and the faults that are parts of these."""
        self._world = world
        self._faults = faults

    def take_over(self, fault: Fault) -> None:
        """A partition's owner crashes: its standby has the best store for it."""
        owner = self._world.group.owners.get(_key(fault))
        if owner is not None and owner.is_alive:
            self._faults.crash(fault, owner)

    def standby_cut(self, fault: Fault) -> None:
        """A standby's connections break, those of the shards beside it do not; it comes back far behind."""
        process = self._world.group.standing.get(_key(fault))
        if process is not None and process.is_alive:
            process.standbys.network.is_cut = True
            self._faults.later(fault.size * LONGEST_S, setattr, process.standbys.network, "is_cut", False)  # noqa: FBT003

    def disk_damaged(self, fault: Fault) -> None:
        """What the disk of a partition's standby, or else of its owner, gives back is not what was written."""
        group, key = self._world.group, _key(fault)
        process = group.standing.get(key) or group.owners.get(key)
        store = process.host.stores.get(key) if process is not None else None
        damages = f"damages of {key[0]}-{key[1]}"
        if store is not None and self._world.counts[damages] < MOST_DAMAGES:
            self._world.counts[damages] += 1
            store.is_damaged = True

    def only_the_standby_knows(self, fault: Fault) -> None:
        """The journal loses its end, the group its offset, the owner its disk: what is left is the standby's store."""
        key = _key(fault)
        owner = self._world.group.owners.get(key)
        if owner is None or not owner.is_alive or key not in self._world.group.standing:
            return
        self._faults.crash(fault, owner)
        owner.host.stores.clear()
        for what in ("offset_reset", "journal_cut_at_work"):
            self._faults.happen(fault._replace(what=what))


def _key(fault: Fault) -> Key:
    return KEYS[fault.where % len(KEYS)]
