"""The faults of a history: what each does when it happens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from libipld import encode_dag_cbor

from annals.agents.writing.shards.shard import Phase
from annals.workers.memory.partition import Status
from annals.workers.tools.simulation.broker_faults import BrokerFaults
from annals.workers.tools.simulation.disks import copy_of
from annals.workers.tools.simulation.entries import NO_BLOCK, has_events, is_open, older_than, whole_ends
from annals.workers.tools.simulation.group import KEYS, SESSION_S
from annals.workers.tools.simulation.judged_records import cids_of
from annals.workers.tools.simulation.plan import (
    BROKER_FAULTS,
    CHANGING_FAULTS,
    CLOCK_S,
    LONGEST_S,
    PARTITIONS,
    PUBLISHING_FAULTS,
    REACTING_FAULTS,
    READING_FAULTS,
    RESTORE_FAULTS,
    STANDBY_FAULTS,
)
from annals.workers.tools.simulation.process import GROUP
from annals.workers.tools.simulation.publishing_faults import PublishingFaults
from annals.workers.tools.simulation.reacting_faults import ReactingFaults
from annals.workers.tools.simulation.reading_faults import ReadingFaults
from annals.workers.tools.simulation.restore_faults import RestoreFaults
from annals.workers.tools.simulation.standby_faults import StandbyFaults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.workers.memory.partition import Entry
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

MOMENT_S: Final = 0.01
STRAY_PRODUCER: Final = 1 << 40
MOST_WRITES: Final = 3
MOST_CUT: Final = 3
FAR_AHEAD: Final = 1_000
SETTLED_S: Final = 25.0  # by then no request of a dead process is on its way, and its transaction is aborted


class Faults:
    """Carries faults out, on the world as it is when they happen. is_over: whether they have all ended."""

    def __init__(self, world: World) -> None:
        """Take the world."""
        self._world = world
        self.is_over = False
        self._outages = 0
        self._of_brokers = BrokerFaults(world, self)
        rooms = (
            (RESTORE_FAULTS, RestoreFaults(world, self)),
            (STANDBY_FAULTS, StandbyFaults(world, self)),
            (BROKER_FAULTS, self._of_brokers),
            ((*PUBLISHING_FAULTS, *CHANGING_FAULTS), PublishingFaults(world, self, self._of_brokers)),
            (REACTING_FAULTS, ReactingFaults(world, self, self._of_brokers)),
            ((*READING_FAULTS, "journal_lost_at_opening"), ReadingFaults(world, self)),
        )
        self._rooms: dict[str, object] = {what: room for names, room in rooms for what in names}

    def heal(self) -> None:
        """Let nothing more happen, of what was to come later either."""
        self.is_over = True
        self._of_brokers.heal()

    def happen(self, fault: Fault) -> None:
        """Let a fault happen."""
        self._world.counts[fault.what] += 1
        for process in self._world.processes:
            for shard in process.shards.values():
                self._world.counts[f"{fault.what} while {shard.phase.value}"] += 1
        self._world.note(f"{fault.what} {fault.where} {fault.size:.3f}")
        name = fault.what if fault.what in self._rooms else f"_{fault.what}"
        getattr(self._rooms.get(fault.what, self), name)(fault)

    def later(self, seconds: float, what: Callable[..., None], *of: Any) -> None:
        """Do something later, unless the faults are over then."""

        def unless_over() -> None:
            if not self.is_over:
                what(*of)

        self._world.loop.call_later(seconds, unless_over)

    def _process(self, fault: Fault) -> Process | None:
        processes = self._world.processes
        return processes[fault.where % len(processes)] if processes else None

    def _key(self, fault: Fault) -> Key:
        return KEYS[fault.where % len(KEYS)]

    # --- processes and disks ---

    def _crash(self, fault: Fault) -> None:
        process = self._process(fault)
        if process is not None:
            self.crash(fault, process)

    def crash(self, fault: Fault, process: Process) -> None:
        """A process crashes; one on some host follows."""
        world = self._world
        world.kill(process)
        host = world.hosts[(fault.where >> 4) % len(world.hosts)]
        self.later(fault.size * SESSION_S, world.group.rebalance)
        world.loop.call_later(fault.size * 3, self._start, host)

    def _start(self, host: Any) -> None:
        if self._outages and not self.is_over:
            return
        if not any(process.host is host and not process.is_lost for process in self._world.processes):
            self._world.start(host)
        else:
            self._world.group.rebalance()

    def _crash_without_disk(self, fault: Fault) -> None:
        self.crash_without_disk(fault)

    def crash_without_disk(self, fault: Fault) -> None:
        """A process crashes, and all that is on its host's disk is gone."""
        process = self._process(fault)
        self._crash(fault)
        if process is not None:
            process.host.lose_disk()

    def _crash_with_old_disk(self, fault: Fault) -> None:
        """A copy is taken now; later the host crashes, and has the copy."""
        process = self._process(fault)
        if process is None:
            return
        kept = {key: copy_of(store) for key, store in process.host.stores.items()}
        kept_rows = {key: rows.copy() for key, rows in process.host.rows.items()}

        def back() -> None:
            if process in self._world.processes:
                self._crash(fault._replace(where=self._world.processes.index(process)))
                process.host.lose_disk()
                process.host.stores.update(kept)
                process.host.rows.update(kept_rows)

        self.later(fault.size * 5, back)

    def _crash_with_foreign_disk(self, fault: Fault) -> None:
        process, key = self._process(fault), self._key(fault)
        self._crash(fault)
        others = [
            store
            for host in self._world.hosts
            for other, store in host.stores.items()
            if other != key and store.position().last_offset >= 0
        ]
        if process is not None and others:
            for host in self._world.hosts:
                if key not in host.locks or not host.locks[key].is_alive:
                    host.stores[key] = copy_of(others[fault.where % len(others)])

    def _disk_full(self, fault: Fault) -> None:
        hosts = self._world.hosts
        hosts[fault.where % len(hosts)].failing = 1 + int(fault.size * MOST_WRITES)

    def _freeze(self, fault: Fault) -> None:
        process = self._process(fault)
        if process is not None:
            self._freeze_for(process, fault.size * LONGEST_S)

    def _freeze_for(self, process: Process, seconds: float) -> None:
        process.frozen_until = self._world.loop.time() + seconds
        self._away(process, seconds)

    def _freeze_while_opening(self, fault: Fault) -> None:
        """A worker freezes in the midst of an opening, for so long that its successor has decided meanwhile."""
        for process in self._world.processes:
            if process.can_reach() and any(shard.phase is Phase.OPENING for shard in process.shards.values()):
                self._freeze_for(process, SESSION_S + 1 + fault.size * (LONGEST_S - SESSION_S))
                return
        self.later(MOMENT_S * (1 + fault.size), self._freeze_while_opening, fault)

    def _cut(self, fault: Fault) -> None:
        process = self._process(fault)
        if process is not None:
            process.is_cut = True
            seconds = fault.size * LONGEST_S
            self.later(seconds, setattr, process, "is_cut", False)  # noqa: FBT003
            self._away(process, seconds)

    def _zombie(self, fault: Fault) -> None:
        """The group loses it, but it goes on beside whoever follows."""
        process = self._process(fault)
        if process is not None:
            process.is_lost = True
            self._world.group.rebalance()
            self.later(fault.size * LONGEST_S, self._back, process)

    def _away(self, process: Process, seconds: float) -> None:
        if seconds > SESSION_S:
            self.later(SESSION_S, self._world.group.rebalance)
        self.later(seconds + 0.001, self._back, process)

    def _back(self, process: Process) -> None:
        process.is_lost = False
        self._world.group.rebalance()

    def _rebalance(self, fault: Fault) -> None:
        del fault
        self._world.group.rebalance()

    def _clock_step(self, fault: Fault) -> None:
        hosts = self._world.hosts
        hosts[fault.where % len(hosts)].clock_s += (fault.size - 0.5) * CLOCK_S

    # --- topics and offsets ---

    def _stray_marker(self, fault: Fault) -> None:
        kind, partition = self._key(fault)
        if (kind, partition) in self._world.cut:
            return  # what is missing could seem to be there again
        log = self._world.model.logs[self._world.names.events(kind), partition]
        log.mark(STRAY_PRODUCER + fault.where, 0, commits=fault.size < 0.5)

    def _stray_record(self, fault: Fault) -> None:
        """Another program writes a record that is no event (foreign) to the journal."""
        kind, partition = self._key(fault)
        if (kind, partition) in self._world.cut:
            return
        self._world.append(self._world.names.events(kind), partition, b"a0", NO_BLOCK + b"%d" % fault.where)

    def _stranger(self, fault: Fault) -> None:
        """Another program writes a well-formed event of version 1: void unless the aggregate is absent."""
        kind, partition = self._key(fault)
        if (kind, partition) in self._world.cut:
            return
        self._world.strangers.add(f"s{fault.where}")
        block = {
            "data": {"name": "stranger"},
            "kind": kind,
            "type": "CounterOpened",
            "actor": None,
            "version": 1,
            "previous": None,
            "command_id": f"s{fault.where}",
            "recorded_at": "2025-01-01T00:00:00.000000Z",
            "aggregate_id": f"a{fault.where % 8}",
            "causation_id": None,
            "correlation_id": f"s{fault.where}",
            "schema_version": 1,
        }
        key = f"a{fault.where % 8}".encode()
        self._world.append(self._world.names.events(kind), partition, key, encode_dag_cbor(block))

    def _offset_reset(self, fault: Fault) -> None:
        kind, partition = self._key(fault)
        self._lose_offset(kind, partition)
        self._world.model.groups[GROUP].committed.pop((self._world.names.commands(kind), partition), None)

    def _lose_offset(self, kind: str, partition: int) -> None:
        self._world.lost_offsets[kind, partition] = self._world.loop.time()

    def _offset_back(self, fault: Fault) -> None:
        """Somebody sets the group's offset back by hand: without this project's metadata, and as Kafka's tool does it.

        It sets no offset below the first that is left (ConsumerGroupCommand.checkOffsetsRange): what expired is told
        as expired, and a person is asked.
        """
        kind, partition = self._key(fault)
        commands = self._world.names.commands(kind), partition
        offsets, log = self._world.model.groups[GROUP].committed, self._world.model.logs[commands]
        if commands in offsets and offsets[commands][0] <= log.end:
            self._lose_offset(kind, partition)
            offsets[commands] = max(log.start, int(offsets[commands][0] * fault.size)), ""

    def _offset_ahead(self, fault: Fault) -> None:
        """Somebody sets the group's offset beyond all commands; an operator deletes it when the shard says so."""
        kind, partition = self._key(fault)
        commands = self._world.names.commands(kind), partition
        self._lose_offset(kind, partition)
        self._world.offsets_ahead.add((kind, partition))
        self._world.model.groups[GROUP].committed[commands] = self._world.model.logs[commands].end + FAR_AHEAD, ""

    def _journal_cut(self, fault: Fault) -> None:
        """All workers die, and an unclean election takes the journal's last transactions: the shard must not go on."""
        world = self._world
        self._outages += 1
        for process in list(world.processes):
            world.kill(process)

        def cut() -> None:
            self._outages -= 1
            self._journal_cut_at_work(fault)
            self._start(world.hosts[fault.where % len(world.hosts)])

        self.later(SETTLED_S, cut)

    def _journal_cut_at_work(self, fault: Fault) -> None:
        """An unclean election takes the journal's last transactions while the shard is at work."""
        self.lose_journal(fault)

    def lose_journal(self, fault: Fault, *, is_whole: bool = False) -> None:
        """A journal loses its last transactions, or all of it."""
        world, key = self._world, self._key(fault)
        journal = world.names.events(key[0]), key[1]
        world.judge_cut(key)
        lost = self._cut_off(*journal, fault, is_whole=is_whole)
        end = world.model.logs[journal].end
        if lost:
            world.shortened.add(key)
        opened = [entry for entry in lost if is_open(entry)]
        self._lose_events(key, end, [entry for entry in lost if not is_open(entry)])
        if opened:  # it may be acknowledged yet
            world.perhaps_cut[key] = end
            self._of_brokers.when_ended(journal, opened, partial(self._lose_opened, key, end))

    def _lose_opened(self, key: Key, end: int, entries: list[Entry], *, is_committed: bool) -> None:
        """What was cut off of a transaction counts as lost if that is committed all the same."""
        self._world.perhaps_cut.pop(key, None)
        if is_committed:
            for entry in entries:
                entry.status = Status.COMMITTED
            self._lose_events(key, end, entries)

    def _lose_events(self, key: Key, end: int, lost: list[Entry]) -> None:
        world = self._world
        events = [entry for entry in lost if has_events(entry)]
        if any(entry.producer_id >= 0 for entry in events):  # of a worker: acknowledged
            world.strangers_cut.discard(key)
        elif events and key not in world.cut:
            world.strangers_cut.add(key)
        world.lost_events.update(cids_of(lost))
        if events:
            world.cut[key] = end
            world.cut_at[key] = world.loop.time()

    def _outcomes_cut(self, fault: Fault) -> None:
        """An unclean election takes the last answers; that they are decided is known by the group's offset."""
        key = self._key(fault)
        where = self._world.names.outcomes(key[0]), key[1]
        lost = self._cut_off(*where, fault)
        self.lose_outcomes(key, [entry for entry in lost if not is_open(entry)])
        self.tear_outcomes(key, where, [entry for entry in lost if is_open(entry)])

    def tear_outcomes(self, key: Key, where: tuple[str, int], lost: list[Entry]) -> None:
        """Take note of outcomes that were cut off a transaction: of one that is aborted then, they were no answers."""
        if lost:
            self._world.torn_outcomes.add(key)
            self._of_brokers.when_ended(where, lost, partial(self._lose_torn, key))

    def _lose_torn(self, key: Key, entries: list[Entry], *, is_committed: bool) -> None:
        if is_committed:
            self.lose_outcomes(key, entries)

    def lose_outcomes(self, key: Key, lost: Sequence[Entry]) -> None:
        """Take note of outcomes that were cut off, and that somebody may have acknowledged."""
        if lost:
            self._world.lost_outcomes.add(key)
            self._world.lost_answers.setdefault((self._world.names.outcomes(key[0]), key[1]), []).extend(lost)

    def _cut_off(self, topic: str, partition: int, fault: Fault, *, is_whole: bool = False) -> list[Entry]:
        """Cut a partition behind one of its last markers: what is before it is whole; is_whole: lose all of it.

        A transaction whose marker alone is cut off would be open for ever, on Kafka too: that is no history that heals.
        """
        log = self._world.model.logs[topic, partition]
        if is_whole:
            return log.truncate(log.start)
        self._world.elections[topic, partition] += 1
        ends = whole_ends(log.entries)[-1 - MOST_CUT :]
        return log.truncate(ends[int(fault.size * (len(ends) - 1))]) if len(ends) > 1 else []

    def _expiry(self, fault: Fault) -> None:
        """Commands of a kind expire up to a moment, unless one of them may have to be decided yet.

        A segment expires by its last record: what is in a busy partition may be there longer, or less long, than what
        came at the same time in another one.
        """
        kind, _ = self._key(fault)
        topic, model = self._world.names.commands(kind), self._world.model
        moments = [fault.size, fault.size * (fault.where >> 4) % 16 / 15]
        now_ms = self._world.loop.time() * 1000
        befores: dict[tuple[str, int], int] = {}
        for partition in range(PARTITIONS):
            log = model.logs[topic, partition]
            until_ms = int(moments[partition ^ fault.where >> 8 & 1] * now_ms)
            before = older_than(until_ms, log)
            committed = model.committed_offset(GROUP, (topic, partition))
            if committed is None or not committed[1] or committed[0] < before:
                return
            befores[topic, partition] = before
        for where, before in befores.items():
            log = model.logs[where]
            self._world.gone.setdefault(where, []).extend(entry for entry in log.entries if entry.end <= before)
            model.delete_records(where, before)
