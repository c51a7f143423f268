"""Faults of a leader of partitions: it loses an end in the midst of a transaction, and its disk rots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from annals.workers.memory.partition import Status
from annals.workers.tools.simulation.group import KEYS

if TYPE_CHECKING:
    from annals.workers.memory.partition import Entry
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.faults import Faults
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.world import World

LOOK_S: Final = 0.2
ENOUGH: Final = 8  # batches and markers of a journal that is cut
MOMENT: Final = b"recorded_at"
LAST_DIGIT: Final = len(MOMENT) + len(b"\x78\x1b2026-01-01T00:00:00.00000")  # from there, in a block


class Ended(Protocol):
    """Is told how a transaction ended, and which batches of it were lost before."""

    def __call__(self, entries: list[Entry], *, is_committed: bool) -> None:
        """Take note of it."""


class BrokerFaults:
    """Carries these out."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Take the world, and the faults that know what is missing then."""
        self._world = world
        self._faults = faults
        self._losing: dict[tuple[str, int], Key] = {}
        self._ended: dict[tuple[tuple[str, int], int], list[tuple[Ended, list[Entry]]]] = {}
        self._rotten: dict[Entry, bytes] = {}
        world.model.arrives = self._lose_what_came_before
        world.model.ends = self._end

    def heal(self) -> None:
        """Lose nothing more, and let an operator put another disk in."""
        self._losing.clear()
        for entry, data in self._rotten.items():
            entry.data = data
        self._rotten.clear()

    def outcomes_cut_within(self, fault: Fault) -> None:
        """The next transaction with several batches of a shard's outcomes loses the one before its second."""
        kind, partition = key = KEYS[fault.where % len(KEYS)]
        self._losing[self._world.names.outcomes(kind), partition] = key

    def _lose_what_came_before(self, where: tuple[str, int], producer_id: int) -> None:
        log = self._world.model.logs[where]
        last = log.entries[-1] if where in self._losing and log.entries else None
        if last is not None and last.status is Status.OPEN and last.producer_id == producer_id:
            key = self._losing.pop(where)
            self._faults.tear_outcomes(key, where, log.truncate(last.base))

    def when_ended(self, where: tuple[str, int], lost: list[Entry], told: Ended) -> None:
        """Tell how the transactions end of which open batches were lost, each with those batches."""
        for producer_id in dict.fromkeys(entry.producer_id for entry in lost):
            of_it = [entry for entry in lost if entry.producer_id == producer_id]
            self._ended.setdefault((where, producer_id), []).append((told, of_it))

    def _end(self, where: tuple[str, int], producer_id: int, is_committed: bool) -> None:  # noqa: FBT001 - a callback
        for told, lost in self._ended.pop((where, producer_id), ()):
            told(lost, is_committed=is_committed)

    def batch_rots(self, fault: Fault) -> None:
        """A leader hands out events of a journal with another byte in them: the checksum tells.

        Where there is a standby, events that it has not folded yet, and others behind them.
        """
        kind, partition = key = KEYS[fault.where % len(KEYS)]
        process = self._world.group.standing.get(key)
        standby = process.standbys.all.get(key) if process is not None else None
        entries = self._world.model.logs[self._world.names.events(kind), partition].entries
        events = [each for each in entries if MOMENT in each.data and each not in self._rotten]
        if standby is not None:
            events = [each for each in events if each.base >= standby.read_until][:-1]
        if events:
            self._rot(events[0 if standby is not None else -1])
            self._world.rotten.add(key)
        else:
            self._faults.later(LOOK_S, self.batch_rots, fault)

    def _rot(self, entry: Entry) -> None:
        entry.records()  # as they were written: whoever judges reads these
        self._rotten[entry] = data = entry.data
        at = data.rindex(MOMENT) + LAST_DIGIT
        entry.data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def cut_behind_a_standby(self, fault: Fault) -> None:
        """A journal loses its end when a standby has folded all of it; the first of which the offset tells."""
        world, standing = self._world, self._world.group.standing
        for key in [key for key in KEYS if key in standing and key not in world.lost_offsets.keys() | world.cut.keys()]:
            standby = standing[key].standbys.all.get(key)
            log = world.model.logs[world.names.events(key[0]), key[1]]
            if standby is not None and len(log.entries) > ENOUGH and standby.read_until == log.stable:
                self._faults.happen(fault._replace(what="journal_cut_at_work", where=KEYS.index(key), size=0.0))
                return
        self._faults.later(LOOK_S, self.cut_behind_a_standby, fault)
