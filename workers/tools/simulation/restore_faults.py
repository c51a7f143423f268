"""Faults of restore points: they are needed, forged, or gone, and so are the snapshots that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from libipld import encode_dag_cbor

from annals.schemas.canonical import decode
from annals.workers.tools.simulation.counter import Counter, counter_decider
from annals.workers.tools.simulation.group import KEYS

if TYPE_CHECKING:
    from annals.workers.tools.simulation.faults import Faults
    from annals.workers.tools.simulation.plan import Fault
    from annals.workers.tools.simulation.world import World

FORGED_STATE: Final = counter_decider("counter").encode_state(Counter(status="open", name="forged", total=39))


class RestoreFaults:
    """Carries these out."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Take the world, and the faults that are parts of these."""
        self._world = world
        self._faults = faults

    def crash_without_disks(self, fault: Fault) -> None:
        """A process crashes, and the disks of all hosts that hold nothing open are gone."""
        self._faults.crash_without_disk(fault)
        for host in self._world.hosts:
            for key in [key for key in host.stores if key not in host.locks or not host.locks[key].is_alive]:
                del host.stores[key]
            for key in [key for key in host.rows if key not in host.row_locks or not host.row_locks[key].is_alive]:
                del host.rows[key]

    def forged_part(self, fault: Fault) -> None:
        """Somebody writes a list, or a part of a restore point, that says nothing, and looks like one."""
        kind, partition = KEYS[fault.where % len(KEYS)]
        log = self._world.model.logs[self._world.names.restore(kind), partition]
        records = [record for entry in log.entries if not entry.is_marker for record in entry.records()]
        for record in records[-1 - int(fault.size * len(records)) :][:3]:
            value = decode(record.value or b"")
            for name in ("heads", "ends", "voids"):
                if name in value:
                    value[name] = []
            if "ids" in value:
                value["ids"] = bytes(4)
            if "parts" in value:
                value["parts"] = {}
            self._world.append(self._world.names.restore(kind), partition, record.key, encode_dag_cbor(value))

    def forged_snapshot(self, fault: Fault) -> None:
        """Somebody writes snapshots with the right version and head and another state; compaction keeps only these."""
        kind, partition = KEYS[fault.where % len(KEYS)]
        topic = self._world.names.snapshots(kind)
        entries = [entry for entry in self._world.model.logs[topic, partition].entries if not entry.is_marker]
        newest = {record.key: record.value for entry in entries for record in entry.records()}
        self._delete(topic, partition)
        for key, value in newest.items():
            forged = decode(value or b"") | {"state": FORGED_STATE}
            self._world.append(topic, partition, key, encode_dag_cbor(forged))

    def parts_gone(self, fault: Fault) -> None:
        """What was written of restore points up to now is deleted."""
        kind, partition = KEYS[fault.where % len(KEYS)]
        self._delete(self._world.names.restore(kind), partition)

    def snapshots_gone(self, fault: Fault) -> None:
        """The snapshots that were written up to now are gone, as if newer ones had taken their places."""
        kind, partition = KEYS[fault.where % len(KEYS)]
        self._delete(self._world.names.snapshots(kind), partition)

    def _delete(self, topic: str, partition: int) -> None:
        log = self._world.model.logs[topic, partition]
        if log.stable == log.end:
            self._world.gone.setdefault((topic, partition), []).extend(log.entries)
            self._world.model.delete_records((topic, partition), log.end)
