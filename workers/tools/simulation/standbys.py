"""The standbys of one process of a history: partitions that others own, over connections of their own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from annals.agents.folding.working_set import AggregateCache
from annals.agents.writing.shard_id import ShardId
from annals.agents.writing.standby import Standby, StandbyPhase
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.read.stable_ends import StableEnds
from annals.workers.kafka.write.journal import ShardTopics
from annals.workers.kafka.write.standby import KafkaStandbyLog
from annals.workers.memory.client import Cluster
from annals.workers.tools.simulation.disks import DiskStores
from annals.workers.tools.simulation.network import Network
from annals.workers.tools.simulation.plan import KINDS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.ports import Clock, StandbyTelemetry
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.process import Process

CACHE_BYTES: Final = 4_000
NOTICED_LOOKS: Final = 4  # in which a standby asks as often where its journal ends


class _Judged(Standby):
    """A standby of which somebody hears why it leaves its journal."""

    judge: Callable[[str], None]

    def _leave(self, reason: str) -> None:
        self.judge(reason)
        super()._leave(reason)


class Standbys:
    """What a process follows of partitions that are not its own, as `annals.workers.writing.standbys` wires it."""

    def __init__(
        self, process: Process, group: str, limits: dict[str, int], clock: Clock, telemetry: StandbyTelemetry
    ) -> None:
        """Take whose they are; there are none yet, and nothing is connected."""
        world = process.world
        names = world.names
        self.network = Network(world, process, "standbys of ")
        self.all: dict[Key, Standby] = {}
        self._process = process
        self._group = group
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._options = {CLUSTER: Cluster(world.model, self.network), "request_timeout_ms": 15_000}
        topics = [name for kind in KINDS for name in (names.commands(kind), names.events(kind), names.outcomes(kind))]
        self._ends = StableEnds(self._options, topics)
        self._cache = AggregateCache(CACHE_BYTES)
        self._turns = asyncio.Semaphore(1)
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._told: dict[Key, str] = {}
        self._unaware: dict[Key, int] = {}  # for how many looks

    def open(self, key: Key) -> None:
        """Become the standby of a partition, unless it is that."""
        if key in self.all:
            return
        kind, partition = key
        world = self._process.world
        topics = ShardTopics(kind=kind, partition=partition, names=world.names, limits=self._limits, dead_partitions=1)
        standby = self.all[key] = _Judged(
            world.deciders[kind],
            ShardId(kind, world.names.commands(kind), partition, PARTITIONS),
            KafkaStandbyLog(self._options, topics, self._group, self._ends),
            DiskStores(self._process, key),
            self._clock,
            self._telemetry,
            aggregate_cache=self._cache,
            turns=self._turns,
        )
        standby.judge = partial(world.person.told_why_a_standby_leaves, key)
        self._running[key] = world.loop.create_task(standby.run())

    async def close(self, key: Key) -> None:
        """Be its standby no more."""
        standby, task = self.all.pop(key), self._running.pop(key)
        self._told.pop(key, None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await standby.close()

    def kill(self) -> None:
        """End at once."""
        for task in self._running.values():
            task.cancel()
        loop = self._process.world.loop
        if loop.is_running():
            loop.create_task(self._ends.close())

    def look(self) -> None:
        """Have the stops judged that are new, and each second that a standby does not notice a cut."""
        for key, standby in self.all.items():
            self._unaware[key] = self._unaware.get(key, 0) + 1 if self._is_unaware(key, standby) else 0
            if self._unaware[key] == NOTICED_LOOKS:
                self._process.world.problems.append(f"not noticed: {key[0]}-{key[1]} ends before {standby.read_until}")
            if standby.phase is StandbyPhase.STOPPED and self._told.get(key) != standby.reason:
                self._told[key] = standby.reason
                self._process.world.person.told_by_standby(self._process, key, standby.reason)
            elif standby.phase is StandbyPhase.FOLLOWING:
                self._told.pop(key, None)

    def _is_unaware(self, key: Key, standby: Standby) -> bool:
        """Whether a standby that nothing keeps from asking follows a journal that has lost what it has folded."""
        world = self._process.world
        weather = world.plan.weather
        if weather.lost_requests or weather.lost_answers or weather.late:
            return False
        can_ask = self._process.can_reach() and not self.network.is_cut
        end = world.model.logs[world.names.events(key[0]), key[1]].end
        return can_ask and standby.phase is StandbyPhase.FOLLOWING and standby.read_until > end

    def stopped(self) -> list[Key]:
        """Return the partitions whose standbys have stopped."""
        return [key for key, standby in self.all.items() if standby.phase is StandbyPhase.STOPPED]

    def behind(self) -> list[str]:
        """Return the standbys that do not follow, or are not where the journal is stable, with the reason."""
        world = self._process.world
        left = []
        for key, standby in self.all.items():
            stable = world.model.logs[world.names.events(key[0]), key[1]].stable
            name = f"standby of {key[0]}-{key[1]} on worker {self._process.number}"
            if standby.phase is not StandbyPhase.FOLLOWING:
                left.append(f"{name} is {standby.phase.value}: {standby.reason}")
            elif standby.read_until != stable:
                left.append(f"{name} has folded up to {standby.read_until} of {stable}")
        return left

    def folds(self) -> dict[Key, dict[str, tuple[int, bytes]]]:
        """Return what each store has that is open: version and head of each aggregate."""
        stores: dict[Key, Any] = {key: self._process.host.stores.get(key) for key in self.all}
        return {
            key: {name.decode(): (stored.version, stored.head) for name, stored in store.aggregates()}
            for key, store in stores.items()
            if store is not None
        }
