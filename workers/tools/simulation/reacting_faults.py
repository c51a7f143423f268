"""Faults where a reaction runs: its rows are lost, somebody pauses it, another release has it in a newer version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.workers.tools.simulation.plan import PARTITIONS
from annals.workers.tools.simulation.publishing_faults import cut_beside
from annals.workers.tools.simulation.reminders import NAME

if TYPE_CHECKING:
    from annals.workers.tools.simulation.broker_faults import BrokerFaults
    from annals.workers.tools.simulation.faults import Faults
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.world import World

LOOK_S: Final = 0.2
PAUSED_S: Final = 5.0


class ReactingFaults:
    """Carries these out."""

    def __init__(self, world: World, faults: Faults, of_brokers: BrokerFaults) -> None:
        """Take the world, and the faults that know how transactions end that are torn."""
        self._world = world
        self._faults = faults
        self._of_brokers = of_brokers

    def timers_cut(self, fault: Fault) -> None:
        """The topic of states and timers loses its last transactions; none that is open.

        What is lost of one before it is committed, nobody could tell: its marker takes the offset.
        """
        where = self._world.names.timers(NAME), fault.where % PARTITIONS
        log = self._world.model.logs[where]
        if log.stable < log.end:
            self._faults.later(LOOK_S, self.timers_cut, fault)
        else:
            cut_beside(self._world, self._of_brokers, where, fault)

    def reaction_paused(self, fault: Fault) -> None:
        """Somebody pauses the reaction, and resumes it later."""
        if self._world.controls.is_active:
            self._world.controls.turn(is_active=False)
            self._faults.later(fault.size * PAUSED_S, self._world.controls.resume)

    def new_release(self, fault: Fault) -> None:
        """Workers that start from now on have a newer version of the reaction; the first of them at once."""
        self._world.controls.release += 1
        if self._world.processes:
            process = self._world.processes[fault.where % len(self._world.processes)]
            self._faults.crash(fault, process)
