"""The publishers of one process of a history: one beside each reading shard of a partition that the process has."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.ports import JournalError
from annals.agents.publishing.delivering.making import DeliveryShards
from annals.agents.publishing.publisher import PUBLISHING, STOPPED, Publisher
from annals.agents.publishing.share import Share
from annals.agents.reading.ports import BrokenChainError, NotReadyError
from annals.agents.waiting import ended
from annals.workers.clock import SteadyClock
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.memory.client import Cluster
from annals.workers.memory.partition import Status
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.reached import ReachedWatch
from annals.workers.tools.simulation.plan import KINDS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from annals.agents.ports import Clock
    from annals.agents.reading.following.shard import Shard
    from annals.workers.partitions import Key
    from annals.workers.publishing.reached import PartitionLostEndError
    from annals.workers.tools.simulation.network import Network
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

EXPECTED: Final = (JournalError, NotReadyError, BrokenChainError)
PATIENCE_S: Final = 3.0  # for so long a rebalance waits for transactions that are under way


class JudgedPublisher(Publisher):
    """A publisher of which somebody hears why it stops, and what it failed with that nobody expects."""

    judge: Callable[[str], None]
    failed: Callable[[Exception], None]

    def _become(self, phase: str, reason: str) -> None:
        if phase == STOPPED:
            self.judge(reason)
        super()._become(phase, reason)

    def _note(self, error: Exception) -> None:
        if not isinstance(error, EXPECTED):
            self.failed(error)
        super()._note(error)


class Telemetry:
    """Counts what publishers tell (the `PublishTelemetry` and `DeliveryTelemetry` ports)."""

    def __init__(self, world: World, failed: Callable[[Exception], None]) -> None:
        """Take where it is counted, and who hears of what nobody expects."""
        self._counts = world.counts
        self._failed = failed

    def published(self, name: str, events: int) -> None:
        """Count events that were committed."""
        del name
        self._counts["published"] += events

    def failed(self, *_: Any) -> None:
        """Not looked at."""

    def lag(self, *_: Any) -> None:
        """Not looked at."""

    def publishing(self, *, is_so: bool) -> None:
        """Not looked at."""

    def uncertain(self) -> None:
        """Count a transaction whose end is not known."""
        self._counts["publisher uncertain"] += 1

    def defect(self, error: Exception) -> None:
        """Tell what a catch-up or a delivery met that is no fault's, though it would try again."""
        self.uncertain()
        self._failed(error)

    def fenced(self) -> None:
        """Count a fence by another publisher."""
        self._counts["publisher fenced"] += 1

    def deleted(self, name: str) -> None:
        """Not looked at."""

    def closed(self) -> None:
        """Not looked at."""

    def answers(self, name: str, results: Mapping[str, int]) -> None:
        """Count answers by what they were."""
        del name
        self._counts.update({f"answered: {result}": count for result, count in results.items()})

    def redelivered(self, name: str, deliveries: int) -> None:
        """Count deliveries that were not the first of their event."""
        del name
        self._counts["redelivered"] += deliveries

    def parked(self, name: str, events: int) -> None:
        """Count events that were parked."""
        del name
        self._counts["parked"] += events

    def unsettled(self, *_: Any) -> None:
        """Not looked at."""

    def parked_since(self, *_: Any) -> None:
        """Not looked at."""


class Here(NamedTuple):
    """A partition that is published here."""

    publisher: JudgedPublisher
    logs: KafkaDeliveryLogs
    task: asyncio.Task[None]


class Publishers:
    """What a process publishes, as `annals.workers.publishing.wiring` wires it."""

    def __init__(self, process: Process, network: Network, app_id: str, clock: Clock) -> None:
        """Take whose they are, and its connections; nothing is published yet."""
        self.here: dict[Key, Here] = {}
        self._closing: list[Here] = []
        self._process = process
        self._app_id = app_id
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._draw = process.world.chance(f"delays of worker {process.number}").random
        self._share = Share(clock)
        cluster = Cluster(process.world.model, network)
        self._options = {CLUSTER: cluster, "bootstrap_servers": "memory", "request_timeout_ms": 15_000}
        self._client: Any = cluster.client()
        progress = process.world.names.progress
        self._watch = ReachedWatch(self._options, lambda topic: topic == progress, self._lost)

    async def watch(self) -> None:
        """Look each second whether the topic of progress still has what was acknowledged."""
        await self._watch.run()

    def follow(self, key: Key, shard: Shard) -> None:
        """Publish what a shard reads; one that is published already goes on."""
        if key in self.here:
            self.here[key].publisher.resume()
            return
        world, (kind, partition) = self._process.world, key
        logs = KafkaDeliveryLogs(self._options, world.names, self._app_id, kind, partition, PARTITIONS, "none")
        failed = partial(world.publishing.failed, self._process, key)
        telemetry, decider = Telemetry(world, failed), world.deciders[kind]
        delivering = DeliveryShards(
            shard,
            decider,
            logs.delivering,
            self._steady,
            self._clock,
            telemetry,
            KINDS,
            PARTITIONS,
            self._share,
            self._draw,
        )
        publisher = JudgedPublisher(
            shard,
            KafkaJournalPartition(self._client, world.names.events(kind), partition),
            decider,
            logs,
            world.subscriptions,
            self._clock,
            self._share,
            telemetry,
            delivering,
            most_events=world.plan.most_events,
        )
        publisher.judge = partial(world.publishing.told, self._process, key)
        publisher.failed = failed
        self.here[key] = Here(publisher, logs, world.loop.create_task(publisher.run()))
        self._look_at_all()

    async def suspend(self) -> None:
        """Let transactions under way end before partitions move, which do not wait for long."""
        await patiently(self._process, (here.publisher.suspend() for here in self.here.values()))

    async def close(self, keys: Iterable[Key]) -> None:
        """Publish some partitions no more; what takes too long ends beside whoever publishes next."""
        going = [self.here.pop(key) for key in keys if key in self.here]
        self._closing += going
        await patiently(self._process, (_close(here) for here in going))
        self._look_at_all()

    def kill(self) -> None:
        """End at once."""
        for here in (*self.here.values(), *self._closing):
            here.task.cancel()
            for task in here.publisher._catching.tasks():  # noqa: SLF001 - nobody else can kill these
                task.cancel()

    def behind(self) -> list[str]:
        """Return what is not published to the journal's end, with the reason."""
        left = []
        for (kind, partition), (publisher, _, _) in self.here.items():
            if publisher.phase == STOPPED:
                continue  # judged as it happened
            name = f"the publisher of {kind}-{partition} on worker {self._process.number}"
            entries = self._process.world.model.logs[self._process.world.names.events(kind), partition].entries
            committed = (each.end for each in entries if not each.is_marker and each.status is Status.COMMITTED)
            if publisher.phase != PUBLISHING:
                left.append(f"{name} is {publisher.phase}: {publisher.reason}")
            elif publisher.position < (end := max(committed, default=0)):
                left.append(f"{name} is at {publisher.position} of {end}")
            elif publisher._roster.known is not self._process.world.subscriptions.all():  # noqa: SLF001
                left.append(f"{name} has not noticed that subscriptions are others")
            elif behind := publisher._roster.behind():  # noqa: SLF001
                left.append(f"{name} has not caught up for {', '.join(each.name for each in behind)}")
        return left

    def _look_at_all(self) -> None:
        self._watch.follow([here.logs.reached for here in self.here.values()])

    def _lost(self, error: PartitionLostEndError) -> None:
        for here in self.here.values():
            if error.where in here.logs.reached:
                here.publisher.stop_for(error)


async def patiently(process: Process, works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do what has to be done before partitions move; what takes too long goes on beside whoever has them next."""
    if tasks := [process.spawn(work) for work in works]:
        await asyncio.wait(tasks, timeout=PATIENCE_S)


async def _close(here: Here) -> None:
    await ended(here.task)
    await here.publisher.close()
