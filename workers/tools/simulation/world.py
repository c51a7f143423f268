"""The world of one history: brokers, hosts, processes, and the hand that carries the plan out."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from annals.agents.waiting import ended
from annals.agents.writing.shards.shard import Phase
from annals.topics.names import TopicNames
from annals.workers.memory.cluster import NO_HEADERS, MemoryCluster, Topic
from annals.workers.memory.partition import Rules, Status
from annals.workers.tools.simulation.checker import heads_of
from annals.workers.tools.simulation.counter import counter_decider
from annals.workers.tools.simulation.disks import Host
from annals.workers.tools.simulation.faults import Faults
from annals.workers.tools.simulation.group import KEYS, Group
from annals.workers.tools.simulation.judged_records import cid_text
from annals.workers.tools.simulation.loop import SimulatedLoop
from annals.workers.tools.simulation.parking_judge import ParkingJudge
from annals.workers.tools.simulation.person import Person
from annals.workers.tools.simulation.plan import HOSTS, KINDS, PARTITIONS, Plan, Weather
from annals.workers.tools.simulation.process import LIMITS, Process
from annals.workers.tools.simulation.publishing_judge import PublishingJudge
from annals.workers.tools.simulation.reacting_judge import ReactingJudge
from annals.workers.tools.simulation.reading_judge import ReadingJudge
from annals.workers.tools.simulation.reminders import NAME, SimulatedControls
from annals.workers.tools.simulation.subscribers import Subscriber
from annals.workers.tools.simulation.subscriptions import ANSWERED, FIRST, LATER, SimulatedSubscriptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.workers.memory.partition import Entry

HEALED_WITHIN_S: Final = 60.0
FOLLOWED_WITHIN_S: Final = 200.0  # a standby that has stopped looks again each minute, a person after that
LOOK_S: Final = 0.5
NOTICED_S: Final = 3.0  # in which an idle worker sees that something was cut off
TIMEOUTS_S: Final = 1.0
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
        self.lost_offsets: dict[tuple[str, int], float] = {}  # when that was
        self.set_back: set[tuple[str, int]] = set()  # where a person accepted that outcomes or commands are gone
        self.offsets_ahead: set[tuple[str, int]] = set()
        self.accepts_expired: set[tuple[str, int]] = set()
        self.lost_outcomes: set[tuple[str, int]] = set()
        self.lost_answers: dict[tuple[str, int], list[Entry]] = {}
        self.torn_outcomes: set[tuple[str, int]] = set()  # of a transaction that was open, and may have been aborted
        self.cut: dict[tuple[str, int], int] = {}  # where the journal ended behind its last cut
        self.cut_at: dict[tuple[str, int], float] = {}
        self.elections: Counter[tuple[str, int]] = Counter()  # of a leader that lacked something
        self.shortened: set[tuple[str, int]] = set()  # whatever it was that was cut off
        self.lost_events: set[str] = set()
        self.given_up: set[tuple[str, int]] = set()  # cut once; a person said that workers go on with what is there
        self.strangers_cut: set[tuple[str, int]] = set()  # of these: where nobody may have read what was cut off
        self.perhaps_cut: dict[tuple[str, int], int] = {}
        self.rotten: set[tuple[str, int]] = set()  # where a journal was handed out with another byte in it
        self.problems: list[str] = []
        self._healed_at = 0.0
        self.is_healed = False
        self.log: list[str] = []
        self._faults = Faults(self)
        self.person = Person(self)
        self.reading = ReadingJudge(self)
        self.subscriptions = SimulatedSubscriptions(self)
        self.subscriber = Subscriber(self, ANSWERED) if plan.has_answers else None
        self.publishing = PublishingJudge(self)
        self.parking = ParkingJudge(self) if plan.has_parking else None
        self.controls = SimulatedControls(self)
        self.reacting = ReactingJudge(self)

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
        if self.plan.has_publishers:
            self.subscriptions.put_first()
        if self.plan.reacts_from is not None:
            self.loop.call_at(self.plan.reacts_from, self.controls.begin)
        for host in self.hosts[:2]:
            self.start(host)
        background = [self.loop.create_task(work) for work in (self.group.run(), self._time_out())]
        if self.subscriber is not None:
            background.append(self.loop.create_task(self.subscriber.run()))
        if self.parking is not None:
            background += [self.loop.create_task(each.run()) for each in self.parking.administrators]
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
        """End all faults. What has stopped, a person looks at."""
        self.note("healed")
        self._healed_at, self.is_healed = self.loop.time(), True
        self.weather = Weather()
        self._faults.heal()
        self.controls.resume()
        self.person.healed()
        for host in self.hosts:
            host.failing = 0
        for process in self.processes:
            process.frozen_until, process.is_cut, process.is_lost = 0.0, False, False
            process.standbys.network.is_cut = process.readers.network.is_cut = False
        if not self.processes:
            self.start(self.hosts[0])
        self.group.rebalance()

    async def _until_answered(self) -> None:
        await asyncio.sleep(NOTICED_S)
        if not await self._ends("unanswered", HEALED_WITHIN_S, self.unanswered, self.person.look):
            return
        if self.plan.has_reactions and await self._ends(
            "not reacted", HEALED_WITHIN_S, self.reacting.behind, self.reacting.look
        ):
            self.problems += self.reacting.differences()
            if not await self._ends("unanswered", HEALED_WITHIN_S, self.unanswered, self.person.look):
                return
        if self.plan.has_standbys and await self._ends(
            "not followed", FOLLOWED_WITHIN_S, self._behind, self.person.look_at_standbys
        ):
            self._compare_folds()
        if self.plan.has_readers and await self._ends(
            "not read", HEALED_WITHIN_S, self.reading.behind, self.reading.look
        ):
            self.problems += self.reading.differences()
        if self.plan.has_publishers and await self._ends(
            "not published", HEALED_WITHIN_S, self.publishing.behind, self._look_at_publishers
        ):
            self.problems += self.publishing.differences()
        if self.plan.has_reactions:  # a timer may have fired meanwhile
            await self._ends("unanswered", HEALED_WITHIN_S, self.unanswered, self.person.look)

    async def _ends(
        self, what: str, within_s: float, behind: Callable[[], list[str]], look: Callable[[], Awaitable[None]]
    ) -> bool:
        """Wait until nothing is behind any more, and have somebody look at it meanwhile; whether it came in time."""
        began = self.loop.time()  # nobody has looked at it before
        while left := behind():
            if self.loop.time() > max(began, self.person.acted_at) + within_s:
                self.problems.append(f"{what} {within_s:.0f} s after the last fault: {'; '.join(left)}")
                return False
            await asyncio.sleep(LOOK_S)
            await look()
        return True

    async def _look_at_publishers(self) -> None:
        self.publishing.resume()
        await self.reading.look()

    def _compare_folds(self) -> None:
        """Hold what standbys have folded against the journals."""
        logs = self.all_logs()
        for process in self.processes:
            for (kind, partition), heads in process.standbys.folds().items():
                there = heads_of(logs, kind, partition)
                if {key: (version, cid_text(head)) for key, (version, head) in heads.items()} != there:
                    self.problems.append(
                        f"folded wrong: the standby of {kind}-{partition} on worker {process.number} has {heads}, and "
                        f"the journal {there}"
                    )

    def _behind(self) -> list[str]:
        has_any = len(self.processes) > 1
        missing = [f"{key[0]}-{key[1]} has no standby" for key in KEYS if has_any and key not in self.group.standing]
        return missing + [line for process in self.processes for line in process.standbys.behind()]

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
            elif shard.phase is not Phase.OPEN:
                left.append(f"{kind}-{partition} is {shard.phase.value}: {shard.reason}")
            elif self.must_stop(key):
                left.append(f"{kind}-{partition} goes on with a journal whose end was cut off")
            elif shard.lag(log.end):
                left.append(f"{kind}-{partition} is at {shard.next_offset} of {log.end}")
        left += [  # what was on its way through a freeze comes late
            f"worker {process.number} has not looked where partitions end"
            for process in self.processes
            if process.looked_at < self._healed_at
        ]
        return left or [f"{topic} is not stable" for (topic, _), log in self.model.logs.items() if log.stable < log.end]

    def must_stop(self, key: tuple[str, int]) -> bool:
        """Whether events were cut off that were acknowledged, and something is left that tells of it."""
        return key in self.cut and key not in self.lost_offsets.keys() | self.strangers_cut

    def give_up(self, key: tuple[str, int]) -> None:
        """Take note that a person had workers go on with a journal as it is."""
        self.judge_cut(key)
        if key in self.cut:
            self.given_up.add(key)
        self.cut.pop(key, None)
        self.perhaps_cut.pop(key, None)

    def judge_cut(self, key: tuple[str, int]) -> None:
        """See that nothing was committed behind a cut up to now, where something tells of it."""
        if key in self.cut and self.must_stop(key) and not self._has_left_alone(key):
            self.problems.append(f"wrote on: {key[0]}-{key[1]}, behind a cut at {self.cut[key]}")

    def _has_left_alone(self, key: tuple[str, int]) -> bool:
        """Whether nothing was committed behind a cut."""
        log = self.model.logs[self.names.events(key[0]), key[1]]
        behind = [entry for entry in log.entries if entry.base >= self.cut[key] and not entry.is_marker]
        return not any(entry.status is Status.COMMITTED for entry in behind)

    def all_logs(self) -> dict[tuple[str, int], list[Entry]]:
        """Return what each partition ever had, but for what was cut off."""
        return {where: [*self.gone.get(where, []), *log.entries] for where, log in self.model.logs.items()}

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
                topics[getattr(names, role)(kind)] = Topic(
                    PARTITIONS, Rules(LIMITS[role], appends_time=role in {"commands", "outcomes"})
                )
        topics[names.dead_letters] = Topic(1, Rules(LIMITS["dead-letters"], appends_time=True))
        if self.plan.has_publishers:
            topics |= {names.subscribers(name): Topic(PARTITIONS) for name in (*FIRST, *LATER)}
        if self.plan.has_reactions:
            topics[names.timers(NAME)] = Topic(PARTITIONS)
        if self.plan.has_publishers or self.plan.has_reactions:
            topics[names.progress] = Topic(PARTITIONS)
        if self.plan.has_answers:
            of_one = (names.subscribers, names.acks, names.deliveries, names.parked)
            topics |= {topic(ANSWERED): Topic(PARTITIONS) for topic in of_one}
            topics[names.subscriptions] = Topic(1)
        return topics

    def _surprised(self, loop: Any, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self.problems.append(f"failed: {context['message']}: {error!r}")

    def _end(self) -> None:
        for process in self.processes:
            process.kill()
        # What a loop that is closed has left is ended by the garbage collector, in the midst of whatever comes next.
        self.loop.run_until_complete(ended(*asyncio.all_tasks(self.loop)))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        self.loop.close()
