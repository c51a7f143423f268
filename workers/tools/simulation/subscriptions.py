"""The subscriptions of a history: who asks for which events, known to every worker as soon as it is said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from annals.agents.publishing.administration import deleted, put
from annals.agents.publishing.ports import Kept
from annals.schemas.progress import Progress, encode_progress, progress_key
from annals.schemas.subscription import Definition, Record, Retry
from annals.workers.tools.simulation.plan import KINDS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.workers.tools.simulation.world import World

FIRST: Final[Mapping[str, Mapping[str, Any]]] = {"all": {}, "counts": {"kinds": ["counter"], "types": ["Counted"]}}
"""Those that there are from the beginning."""
ANSWERED: Final = "answered"
"""One whose subscriber acknowledges, where the history has such a one."""
RETRY: Final = Retry(max_attempts=1_000, first_delay_ms=100, max_delay_ms=2_000, ack_timeout_ms=1_500)
"""Whatever the subscriber does, nothing is parked."""
FEW: Final = structs.replace(RETRY, max_attempts=2)
LATER: Final = ("late-0", "late-1")
"""Those that somebody may put later, from the beginning of the journals on."""


class SimulatedSubscriptions:
    """The subscriptions (the `Subscriptions` port). Who publishes does not read their own topic in a history."""

    def __init__(self, world: World) -> None:
        """Take the world; there are none yet."""
        self._world = world
        self._all: Mapping[str, Kept] = {}
        self._changed = asyncio.Event()
        self._changes = 0

    def all(self) -> Mapping[str, Kept]:
        """Return them by name."""
        return self._all

    async def until_changed(self, known: Mapping[str, Kept]) -> None:
        """Wait until they are no longer what somebody knows."""
        while self._all is known:
            await self._changed.wait()

    async def until_read(self) -> None:
        """Return at once: they are known."""

    async def until_current(self) -> None:
        """Return at once: each change is known."""

    async def pause(self, name: str, reason: str, partition: str, offset: int) -> None:
        """Have a subscription paused that cannot go on, unless it was changed meanwhile."""
        kept = self._all[name]
        if kept.offset == offset and kept.record.is_active:
            self._world.publishing.told_of_a_pause(name, partition, reason)
            self.turn(name, is_active=False)

    def put(self, name: str, **definition: Any) -> None:
        """Put a subscription that begins with the journals: its own progress comes with its record."""
        wanted, names = Definition(name, **definition), self._world.names
        begin = {kind: [0] * PARTITIONS for kind in wanted.kinds or KINDS}
        for kind in begin:
            for partition in range(PARTITIONS):
                key = progress_key(name, names.events(kind), partition)
                self._world.append(names.progress, partition, key, encode_progress(Progress(0, None, 1)))
        self._keep(Record(wanted, 1, begin))

    def put_first(self) -> None:
        """Put those that there are from the beginning."""
        for name, definition in FIRST.items():
            self.put(name, **definition)
        if self._world.plan.has_answers:
            retry = FEW if self._world.plan.has_parking else RETRY
            self.put(ANSWERED, delivery="acknowledged", retry=retry, max_in_flight=8)

    def turn(self, name: str, *, is_active: bool) -> None:
        """Pause a subscription, or resume it; put one again that was deleted."""
        record = self._all[name].record
        status = "active" if is_active else "paused"
        definition = structs.replace(record.definition, status=status)
        self._keep(structs.replace(record, definition=definition, is_deleted=record.is_deleted and not is_active))

    def change(self, name: str, **other: Any) -> None:
        """Put a subscription otherwise: from where the journals end on, it wants other events."""
        kept, names, logs = self._all[name], self._world.names, self._world.model.logs
        ends = {kind: [logs[names.events(kind), each].end for each in range(PARTITIONS)] for kind in KINDS}
        changed = put(kept, structs.replace(kept.record.definition, **other), {}, ends, {}, has_topic=True)
        self._keep(changed.record)

    def delete(self, name: str) -> None:
        """Delete a subscription; its topic stays."""
        self._keep(deleted(self._all[name].record, {}))

    def _keep(self, record: Record) -> None:
        self._changes += 1
        if self._world.plan.has_parking:  # administrators read the topic
            key = record.definition.name.encode()
            self._world.append(self._world.names.subscriptions, 0, key, msgspec.json.encode(record))
        self._all = {**self._all, record.definition.name: Kept(record, self._changes)}
        self._changed.set()
        self._changed = asyncio.Event()
