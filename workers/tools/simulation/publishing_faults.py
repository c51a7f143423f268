"""Faults where events are published: topics lose their ends, and subscriptions come, pause and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.workers.memory.partition import Status
from annals.workers.tools.simulation.entries import is_open, whole_ends
from annals.workers.tools.simulation.plan import PARTITIONS
from annals.workers.tools.simulation.subscriptions import LATER

if TYPE_CHECKING:
    from annals.workers.memory.partition import Entry
    from annals.workers.tools.simulation.broker_faults import BrokerFaults
    from annals.workers.tools.simulation.faults import Faults
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.world import World

MOST_CUT: Final = 3  # transactions
PAUSED_S: Final = 5.0
OTHERS: Final[tuple[dict[str, list[str]], ...]] = (
    {"kinds": [], "types": []},
    {"kinds": ["counter"], "types": []},
    {"kinds": ["gauge"], "types": ["CounterOpened", "CounterRenamed"]},
    {"kinds": [], "types": ["Counted"]},
)
"""What somebody may want by a subscription later."""


class PublishingFaults:
    """Carries these out."""

    def __init__(self, world: World, faults: Faults, of_brokers: BrokerFaults) -> None:
        """Take the world, and the faults that know how transactions end that are torn."""
        self._world = world
        self._faults = faults
        self._of_brokers = of_brokers

    def progress_cut(self, fault: Fault) -> None:
        """The topic of progress loses its last transactions; what somebody who put a subscription wrote, it keeps.

        Not where events are parked: whoever goes on with what is there has them delivered, and parked, once more.
        """
        if self._world.plan.has_parking:
            return
        where = self._world.names.progress, fault.where % PARTITIONS
        entries = self._world.model.logs[where].entries
        least = max((each.end for each in entries if each.producer_id < 0), default=0)
        cut_beside(self._world, self._of_brokers, where, fault, least)

    def subscribers_cut(self, fault: Fault) -> None:
        """A subscriber's topic loses its last transactions."""
        names = sorted(self._world.subscriptions.all())
        name = names[(fault.where >> 4) % len(names)]
        where = self._world.names.subscribers(name), fault.where % PARTITIONS
        cut_beside(self._world, self._of_brokers, where, fault)

    def subscription_put(self, fault: Fault) -> None:
        """Somebody subscribes to all events from the beginning."""
        name = LATER[fault.where % len(LATER)]
        if name not in self._world.subscriptions.all():
            self._world.subscriptions.put(name)

    def subscription_paused(self, fault: Fault) -> None:
        """Somebody pauses a subscription, and resumes it later."""
        if (name := self._active(fault)) is not None:
            self._world.subscriptions.turn(name, is_active=False)
            self._faults.later(fault.size * PAUSED_S, self._resume, name)

    def subscription_changed(self, fault: Fault) -> None:
        """Somebody wants other events by a subscription that there is."""
        if (name := self._active(fault)) is not None:
            self._world.subscriptions.change(name, **OTHERS[(fault.where >> 4) % len(OTHERS)])

    def subscription_deleted(self, fault: Fault) -> None:
        """Somebody deletes a subscription, and puts it again later."""
        if (name := self._active(fault)) is not None:
            self._world.subscriptions.delete(name)
            self._faults.later(fault.size * PAUSED_S, self._resume, name)

    def _active(self, fault: Fault) -> str | None:
        names = sorted(name for name, kept in self._world.subscriptions.all().items() if kept.record.is_active)
        return names[fault.where % len(names)] if names else None

    def _resume(self, name: str) -> None:
        if not self._world.subscriptions.all()[name].record.is_active:
            self._world.subscriptions.turn(name, is_active=True)


def _end(entries: list[Entry], *, is_committed: bool) -> None:
    """Take for published what was cut off of a transaction that is committed all the same."""
    for entry in entries:
        entry.status = Status.COMMITTED if is_committed else Status.ABORTED


def cut_beside(world: World, of_brokers: BrokerFaults, where: tuple[str, int], fault: Fault, least: int = 0) -> None:
    """Cut a partition that is written beside journals behind one of its last markers, as `Faults` does.

    least: what it keeps.
    """
    log = world.model.logs[where]
    ends = [end for end in whole_ends(log.entries)[-1 - MOST_CUT :] if end >= least]
    if len(ends) < 2:
        return
    world.publishing.will_cut(where)
    lost = log.truncate(ends[int(fault.size * (len(ends) - 1))])
    if opened := [entry for entry in lost if is_open(entry)]:
        of_brokers.when_ended(where, opened, _end)
