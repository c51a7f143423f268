"""The world of one history: brokers, hosts, processes, and the hand that carries the plan out."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from annals.agents.writing.shard import Phase
from annals.topics.names import TopicNames
from annals.workers.memory.cluster import NO_HEADERS, MemoryCluster, Topic
from annals.workers.memory.partition import Rules, Status
from annals.workers.tools.simulation.counter import counter_decider
from annals.workers.tools.simulation.disks import Host
from annals.workers.tools.simulation.faults import Faults
from annals.workers.tools.simulation.group import KEYS, Group
from annals.workers.tools.simulation.loop import SimulatedLoop
from annals.workers.tools.simulation.plan import HOSTS, KINDS, PARTITIONS, Plan, Weather
from annals.workers.tools.simulation.process import GROUP, LIMITS, Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.memory.partition import Entry

HEALED_WITHIN_S: Final = 60.0
OPERATOR_S: Final = 25.0  # so long after the last fault somebody looks at what has stopped
LOOK_S: Final = 0.5
TIMEOUTS_S: Final = 1.0
ACKNOWLEDGED: Final = "Events that were acknowledged are gone"
MARKERS_PER_SECOND: Final = 500


class World:
    """All that there is in a history."""

    def __init__(self, plan: Plan) -> None:
        """Make the topics and the hosts; `run` makes the rest happen."""
        self.plan = plan
        self.loop = SimulatedLoop(self.chance("loop"))
        self._markers = self.chance("markers")
        self._started = 0
        self.counts: Counter[str] = Counter()
        self.weather = plan.weather
        self.names = TopicNames("")
        self.deciders = {kind: counter_decider(kind) for kind in KINDS}
        self.model = MemoryCluster(
            self._topics(), transaction_version=plan.transaction_version, now=self.loop.time, settle=self._settle
        )
        self.model.refuses = self._refuses
        self.hosts = [Host(number) for number in range(HOSTS)]
        self.processes: list[Process] = []
        self.group = Group(self)
        self.gone: dict[tuple[str, int], list[Entry]] = {}
        self.strangers: set[str] = set()
        self.lost_offsets: set[tuple[str, int]] = set()
        self.lost_outcomes: set[tuple[str, int]] = set()
        self.cut: dict[tuple[str, int], int] = {}
        self.last_cut: dict[tuple[str, int], int] = {}
        self.strangers_cut: set[tuple[str, int]] = set()  # of these: where nobody may have read what was cut off
        self.perhaps_cut: dict[tuple[str, int], int] = {}
        self.healed_at = 0.0
        self.problems: list[str] = []
        self.log: list[str] = []
        self._faults = Faults(self)

    def run(self) -> None:
        """Let the history happen."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._surprised)
        try:
            self.loop.run_until_complete(self._story())
        finally:
            self._end()

    def chance(self, of: str) -> random.Random:
        """Return the chance of one part of the world: what happens to others does not change it."""
        return random.Random(f"{self.plan.seed} {of}")  # noqa: S311 - a history, not a secret

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.log.append(f"{self.loop.time():9.3f} {line}")

    def start(self, host: Host) -> Process:
        """Start a process; it joins the group."""
        self._started += 1
        process = Process(self, host, self._started)
        self.processes.append(process)
        self.group.rebalance()
        return process

    def kill(self, process: Process) -> None:
        """Kill a process."""
        process.kill()
        self.processes.remove(process)

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes, headers: bytes = NO_HEADERS) -> None:
        """Append a record that is part of no transaction, whoever sends it."""
        self.model.append((topic, partition), key, value, headers)

    async def _story(self) -> None:
        for host in self.hosts[:2]:
            self.start(host)
        background = [self.loop.create_task(work) for work in (self.group.run(), self._time_out())]
        events: list[tuple[float, Any]] = [(each.at, each) for each in self.plan.commands]
        events += [(each.at, each) for each in self.plan.faults]
        for at, event in sorted(events, key=lambda each: each[0]):
            await asyncio.sleep(at - self.loop.time())
            if hasattr(event, "value"):
                self.append(self.names.commands(event.kind), event.partition, event.key, event.value)
            else:
                self._faults.happen(event)
        await self._heal()
        await self._until_answered()
        for task in background:
            task.cancel()

    async def _heal(self) -> None:
        """End all faults; an operator deletes offsets that somebody set, and starts again what has stopped."""
        self.note("healed")
        self.weather = Weather()
        self._faults.heal()
        self.healed_at = self.loop.time()
        for host in self.hosts:
            host.failing = 0
        offsets = self.model.groups[GROUP].committed
        for commands in [each for each, (offset, _) in offsets.items() if offset > self.model.logs[each].end]:
            del offsets[commands]
        for process in self.processes:
            process.frozen_until, process.is_cut, process.is_lost = 0.0, False, False
        if not self.processes:
            self.start(self.hosts[0])
        self.group.rebalance()

    def _start_stopped(self) -> None:
        for process in list(self.processes):
            if stopped := process.stopped():
                for key in [key for key, reason in stopped.items() if "data directory" in reason]:
                    process.host.stores.pop(key, None)
                self.kill(process)
                self.start(process.host)

    async def _until_answered(self) -> None:
        self.loop.call_later(OPERATOR_S, self._start_stopped)
        while left := self.unanswered():
            if self.loop.time() > self.healed_at + HEALED_WITHIN_S:
                self.problems.append(f"unanswered {HEALED_WITHIN_S:.0f} s after the last fault: {'; '.join(left)}")
                return
            await asyncio.sleep(LOOK_S)

    def unanswered(self) -> list[str]:
        """Return the partitions whose owners have commands left, or are not open, with the reason."""
        left = []
        for key in KEYS:
            kind, partition = key
            owner = self.group.owners.get(key)
            shard = owner.shards.get(key) if owner is not None and owner.is_alive else None
            log = self.model.logs[self.names.commands(kind), partition]
            if shard is None:
                left.append(f"{kind}-{partition} has no owner")
            elif key in self.perhaps_cut and shard.phase is Phase.STOPPED and ACKNOWLEDGED in shard.reason:
                for cut in (self.cut, self.last_cut):
                    cut.setdefault(key, self.perhaps_cut[key])
            elif key in self.lost_outcomes and shard.phase is Phase.STOPPED:
                continue  # it may say so instead of going on
            elif key in self.cut and self._has_left_alone(key, self.cut[key]):
                continue
            elif key in self.cut and key not in self.lost_offsets | self.strangers_cut:  # else nothing may tell of it
                left.append(f"{kind}-{partition} went on behind a journal whose end was cut off")
            elif shard.phase is Phase.STOPPED and key in self.cut and self._has_left_alone(key, self.last_cut[key]):
                continue  # of the first cut nothing told, of a later one something did
            elif shard.phase is not Phase.OPEN:
                left.append(f"{kind}-{partition} is {shard.phase.value}: {shard.reason}")
            elif shard.behind(log.end):
                left.append(f"{kind}-{partition} is at {shard.next_offset} of {log.end}")
        return left or [f"{topic} is not stable" for (topic, _), log in self.model.logs.items() if log.stable < log.end]

    def _has_left_alone(self, key: tuple[str, int], cut: int) -> bool:
        """Whether nothing was committed behind a cut: the shard has stopped, or had nothing to write."""
        log = self.model.logs[self.names.events(key[0]), key[1]]
        behind = [entry for entry in log.entries if entry.base >= cut and not entry.is_marker]
        return not any(entry.status is Status.COMMITTED for entry in behind)

    async def _time_out(self) -> None:
        while True:
            await asyncio.sleep(TIMEOUTS_S)
            self.model.abort_timed_out()

    def _settle(self, write: Callable[[], None]) -> None:
        self.loop.call_later(self._markers.expovariate(MARKERS_PER_SECOND), write)

    def _refuses(self) -> bool:
        return self._markers.random() < self.weather.refused

    def _topics(self) -> dict[str, Topic]:
        names, topics = self.names, {}
        for kind in KINDS:
            for role in ("commands", "events", "outcomes", "snapshots", "restore"):
                topics[getattr(names, role)(kind)] = Topic(PARTITIONS, Rules(LIMITS[role]))
        topics[names.dead_letters] = Topic(1, Rules(LIMITS["dead-letters"]))
        return topics

    def _surprised(self, loop: Any, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self.note(f"{context['message']}: {error!r}")

    def _end(self) -> None:
        for process in self.processes:
            process.kill()
        tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        for task in tasks:
            task.cancel()
        self.loop._scheduled.clear()  # noqa: SLF001 - timers of a history that is over
        self.loop._ready.clear()  # noqa: SLF001
        asyncio.set_event_loop(None)
        self.loop.close()
