"""Two administrators of a history: each lists what is parked, replays and discards it, and may be killed at any await.

They go by the service that workers and the command line have, over connections of their own. Once the faults are over
they replay or discard whatever is left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from annals.agents.ports import JournalError
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.workers.kafka.connections import CLUSTER
from annals.workers.memory.client import Cluster
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.parked import ParkedService
from annals.workers.settings import Settings
from annals.workers.tools.simulation.network import Network
from annals.workers.tools.simulation.plan import PARTITIONS, START
from annals.workers.tools.simulation.subscriptions import ANSWERED

if TYPE_CHECKING:
    from annals.agents.publishing.delivering.choosing import Parked
    from annals.workers.tools.simulation.world import World

MANY: Final = 2
PAUSE_S: Final = 0.3  # on the average, between what one does
KILLED: Final = 0.25  # of all calls
LIVES_S: Final = 0.05  # on the average, one that is killed
LISTED: Final = 20
REPLAY, DISCARD = "replay", "discard"


@dataclass
class Call:
    """What an administrator asked for, and was answered.

    by: the name under which it was, of no other call; since: where what is committed of each partition's rows ended
    then; until: where the rows ended when it was answered; count: the answer, None: there was none.
    """

    by: str
    what: str
    choice: Choice
    stop_at: int | None
    since: dict[int, int]
    until: dict[int, int] = field(default_factory=dict)
    count: int | None = None


class AdministratorClock:
    """A clock that is right (the `Clock` port)."""

    def __init__(self, world: World) -> None:
        """Take the world."""
        self._loop = world.loop

    def now(self) -> datetime:
        """Return the time."""
        return START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Return the seconds since the history began."""
        return self._loop.time()


class Administrator:
    """One of them. number, is_alive, is_cut, frozen_until: what the network asks of a process."""

    def __init__(self, world: World, number: int, calls: list[Call]) -> None:
        """Take the world, and where its calls are kept."""
        self.number = number
        self.is_alive, self.is_cut, self.frozen_until = True, False, 0.0
        self._world = world
        self._calls = calls
        self._chance = world.chance(f"administrator {number}")
        self._made = 0

    async def run(self) -> None:
        """Administer until the task is cancelled."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE_S))
            task = self._world.loop.create_task(self._act())
            lives_s = self._chance.expovariate(1 / LIVES_S) if self._chance.random() < KILLED else None
            try:
                await asyncio.wait([task], timeout=None if self._world.is_healed else lives_s)
            finally:
                task.cancel()
            await asyncio.wait([task])
            self._world.counts["administrator killed"] += task.cancelled()

    async def _act(self) -> None:
        """List what is parked, and decide about some of it, as a process of its own."""
        me: Any = self
        options = {CLUSTER: Cluster(self._world.model, Network(self._world, me, "administrator "))}
        clock = AdministratorClock(self._world)
        asked = {**options, "bootstrap_servers": "memory", "request_timeout_ms": 15_000}
        service = ParkedService(Settings(), asked, self._world.deciders, CompactedViews(clock), clock)
        try:
            if parked := (await service.page(ANSWERED, Choice(), FIRST, LISTED))[0]:
                await self._decide(service, parked)
        except (Refused, JournalError, KafkaError, OSError, TimeoutError):
            self._world.counts["administrator failed"] += 1
        except Exception as error:  # noqa: BLE001 - of the program: the history says so
            self._world.problems.append(f"administrator failed: {error!r}")

    async def _decide(self, service: ParkedService, parked: list[Parked]) -> None:
        one = self._chance.choice(parked)
        choices = Choice(cids=frozenset({one.cid})), Choice(kind=one.kind, aggregate_id=one.aggregate_id), Choice()
        (choice,) = self._chance.choices(choices, (2, 2, 3))
        stop_at = one.offset if choice == Choice() and self._chance.random() < 0.7 else None
        if self._world.is_healed:
            choice, stop_at = Choice(), None
        (what,) = self._chance.choices((REPLAY, DISCARD), (3, 1))
        self._made += 1
        call = Call(f"administrator-{self.number}-{self._made}", what, choice, stop_at, self._ends(is_stable=True))
        self._calls.append(call)
        self._world.note(f"{call.by}: {what} {choice} {stop_at}")
        if what == REPLAY:
            count = await service.replay(ANSWERED, choice, stop_at, call.by)
        else:
            count = await service.discard(ANSWERED, choice, stop_at, call.by, reason_of(call.by))
        call.count, call.until = count, self._ends(is_stable=False)
        self._world.counts[f"{what}ed by administrators"] += count

    def _ends(self, *, is_stable: bool) -> dict[int, int]:
        topic, logs = self._world.names.deliveries(ANSWERED), self._world.model.logs
        return {
            partition: logs[topic, partition].stable if is_stable else logs[topic, partition].end
            for partition in range(PARTITIONS)
        }


def reason_of(by: str) -> str:
    """Return why an administrator discards something."""
    return f"{by} gives it up"
