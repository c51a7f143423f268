"""Faults where partitions are read: readers end alone, lose their connections, and their disks; journals begin anew."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.tools.simulation.group import KEYS
from annals.workers.tools.simulation.plan import LONGEST_S

if TYPE_CHECKING:
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.faults import Faults
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

LOOK_S: Final = 0.2
MOST_DAMAGES: Final = 2  # of one shard's stores: the fourth within an hour is left to a person
MOST_WRITES: Final = 3
ENDS_AT_ONCE: Final = 0.4
HELD_MS: Final = 8_000
CARRIED_OUT: Final = "{} carried out"
NOTED: Final = "end hidden from a reader"


class ReadingFaults:
    """Carries these out."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Take the world, and the faults that are parts of these."""
        self._world = world
        self._faults = faults

    def readers_end(self, fault: Fault) -> None:
        """The child process that reads ends, and is started again."""
        process = self._process(fault)
        if process is not None:
            self._carried_out(fault, has_changed=bool(process.readers.here))
            process.spawn(process.readers.restart(list(process.readers.here)))

    def readers_cut(self, fault: Fault) -> None:
        """The readers' connections break, those of the shards beside them do not."""
        process = self._process(fault)
        if process is not None:
            self._carried_out(fault, has_changed=bool(process.readers.here))
            process.readers.network.is_cut = True
            self._faults.later(fault.size * LONGEST_S, setattr, process.readers.network, "is_cut", False)  # noqa: FBT003

    def readers_move(self, fault: Fault) -> None:
        """Others have what each reads."""
        self._carried_out(fault, has_changed=len(self._world.processes) > 1)
        self._world.group.move_readers()

    def rows_damaged(self, fault: Fault) -> None:
        """What the disk of a partition's reader gives back is not what was written."""
        process, key = self._reader(fault)
        store = process.host.rows.get(key) if process is not None else None
        damages = f"damages of what is read of {key[0]}-{key[1]}"
        if store is not None and self._world.counts[damages] < MOST_DAMAGES:
            self._world.counts[damages] += 1
            store.is_damaged, store.met = True, partial(self._carried_out, fault)

    def rows_refused(self, fault: Fault) -> None:
        """The disk of a partition's reader refuses a write, in the midst of others."""
        process, key = self._reader(fault)
        store = process.host.rows.get(key) if process is not None else None
        if store is not None:
            store.refuses_in, store.refused = 1 + int(fault.size * MOST_WRITES), partial(self._carried_out, fault)

    def rows_foreign(self, fault: Fault) -> None:
        """A reader begins anew, and finds the rows of another partition."""
        process, key = self._reader(fault)
        hosts = self._world.hosts
        others = [rows for host in hosts for other, rows in host.rows.items() if other != key and len(rows.rows) > 1]
        if process is not None and others:
            process.spawn(self._restart_with(process, key, fault))

    def journal_anew(self, fault: Fault) -> None:
        """Somebody deletes a journal and makes it anew."""
        kind, partition = KEYS[fault.where % len(KEYS)]
        journal = self._world.names.events(kind), partition
        self._carried_out(fault, has_changed=bool(self._world.model.logs[journal].entries))
        self._faults.lose_journal(fault, is_whole=True)

    def cut_behind_readers(self, fault: Fault) -> None:
        """A journal loses its end, and somebody's transaction lifts it again.

        One that is open hides the loss from a reader that begins without rows; one that ends at once from all.
        """
        world, key = self._world, KEYS[fault.where % len(KEYS)]
        journal = world.names.events(key[0]), key[1]
        known = world.person.known(key).last
        process, _ = self._reader(fault)
        log = world.model.logs[journal]
        if key in world.cut or known is None or process is None or log.stable < log.end:
            self._faults.later(LOOK_S, self.cut_behind_readers, fault)
            return
        was = log.end
        self._faults.lose_journal(fault._replace(size=0.0))
        if log.end > known.offset:
            return  # nothing was lost
        self._carried_out(fault)
        # One offset more than there were: at the very offset where the writer expects its next batch it could not tell.
        name = f"somebody {fault.where}"
        _, identity = world.model.init_producer_id(name, HELD_MS)
        batch = RecordBatch()
        batch.fill([(b"a0", b"no block", 0, b"\0")] * (was + 1 - log.end), 0, 1 << 20)
        world.model.add_partition(name, identity, journal)
        world.model.produce(name, journal, batch.build(*identity, 0), adds=False)
        if fault.size < ENDS_AT_ONCE:  # the end is as high as before: those who have read the journal see no loss
            world.model.end_transaction(name, identity, commits=False, renews=False)
            return
        world.counts[NOTED] += 1
        process.host.rows.pop(key, None)
        process.spawn(process.readers.restart([key]))

    def journal_lost_at_opening(self, fault: Fault) -> None:
        """A journal is made anew just when a reader that has no rows has opened: it knows what was acknowledged."""
        process, key = self._reader(fault)
        if key in self._world.cut or process is None or self._world.reading.known_until(key) < 0:
            self._faults.later(LOOK_S, self.journal_lost_at_opening, fault)
            return
        process.host.rows.pop(key, None)
        process.readers.at_opening[key] = partial(self._lose_whole, fault)
        process.spawn(process.readers.restart([key]))

    def _lose_whole(self, fault: Fault) -> None:
        if self._faults.is_over:
            return
        self._carried_out(fault)
        self._faults.lose_journal(fault, is_whole=True)

    async def _restart_with(self, process: Process, key: Key, fault: Fault) -> None:
        hosts = self._world.hosts
        others = [rows for host in hosts for other, rows in host.rows.items() if other != key and len(rows.rows) > 1]
        if others:
            self._carried_out(fault)
            process.host.rows[key] = others[fault.where % len(others)].copy()
            await process.readers.restart([key])

    def _carried_out(self, fault: Fault, *, has_changed: bool = True) -> None:
        """Count one that has changed something: there may be nobody who reads, or nothing to lose."""
        self._world.counts[CARRIED_OUT.format(fault.what)] += has_changed

    def _process(self, fault: Fault) -> Process | None:
        processes = self._world.processes
        return processes[fault.where % len(processes)] if processes else None

    def _reader(self, fault: Fault) -> tuple[Process | None, Key]:
        key = KEYS[fault.where % len(KEYS)]
        readers = [process for process in self._world.processes if key in process.readers.here]
        return (readers[(fault.where >> 4) % len(readers)] if readers else None), key
