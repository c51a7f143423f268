"""The reactors of one process of a history: one beside each reading shard of a counter's partition that it has."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from annals.agents.reacting.reactor import FAILED, OPENING, RUNNING, STOPPED, Reactor
from annals.agents.waiting import ended
from annals.schemas.values.moments import recorded_at
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.memory.client import Cluster
from annals.workers.memory.partition import Status
from annals.workers.reacting.log import KafkaReactionLog
from annals.workers.tools.simulation.plan import PARTITIONS
from annals.workers.tools.simulation.publishers import EXPECTED, patiently
from annals.workers.tools.simulation.reminders import NAME, SOURCE, reminders

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from annals.agents.ports import Clock
    from annals.agents.reading.following.shard import Shard
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.network import Network
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World


class JudgedReactor(Reactor):
    """A reactor of which somebody hears how it opens, why it goes on no more, and what it failed with unexpectedly."""

    judge: Callable[[str, str], None]
    opens: Callable[[str], None]
    failed: Callable[[Exception], None]

    def _become(self, phase: str, reason: str) -> None:
        if phase in {STOPPED, FAILED}:
            self.judge(phase, reason)
        elif phase in {OPENING, RUNNING}:
            self.opens(phase)
        super()._become(phase, reason)

    def _note(self, error: Exception) -> None:
        if not isinstance(error, EXPECTED):
            self.failed(error)
        super()._note(error)


class Telemetry:
    """Counts what reactors tell (the `ReactionTelemetry` port)."""

    def __init__(self, world: World) -> None:
        """Take where it is counted."""
        self._counts = world.counts

    def reacted(self, commands: int, fired: int) -> None:
        """Count what was committed."""
        self._counts["commands of a reaction"] += commands
        self._counts["timers fired"] += fired

    def come_round(self, events: int) -> None:
        """Not looked at."""

    def standing(self, lag: int, timers: int) -> None:
        """Not looked at."""

    def running(self, *, is_so: bool | None) -> None:
        """Not looked at."""

    def closed(self) -> None:
        """Not looked at."""


class Here(NamedTuple):
    """A partition that is reacted to here."""

    reactor: JudgedReactor
    task: asyncio.Task[None]


class Reactors:
    """What a process reacts to, as `annals.workers.reacting.wiring` wires it. version: of its release."""

    def __init__(self, process: Process, network: Network, app_id: str, clock: Clock) -> None:
        """Take whose they are, and its connections; nothing is reacted to yet."""
        self.here: dict[Key, Here] = {}
        self.version = process.world.controls.release
        self._closing: list[Here] = []
        self._process = process
        self._app_id = app_id
        self._clock = clock
        cluster = Cluster(process.world.model, network)
        self._options = {CLUSTER: cluster, "bootstrap_servers": "memory", "request_timeout_ms": 15_000}
        self._client: Any = cluster.client()

    def follow(self, key: Key, shard: Shard) -> None:
        """React to what a shard reads, if it is a counter's; one that does already goes on."""
        if key in self.here:
            self.here[key].reactor.resume()
            return
        world, (kind, partition) = self._process.world, key
        if kind != SOURCE:
            return
        reactor = JudgedReactor(
            reminders(self.version),
            world.deciders[kind],
            shard,
            KafkaJournalPartition(self._client, world.names.events(kind), partition),
            partial(KafkaReactionLog, self._options, world.names, NAME, kind, partition, PARTITIONS, self._app_id),
            world.controls,
            self._clock,
            Telemetry(world),
        )
        reactor.judge = partial(world.reacting.told, self._process, key)
        reactor.opens = partial(world.reacting.opens, self._process, key)
        reactor.failed = partial(world.reacting.failed, self._process, key)
        self.here[key] = Here(reactor, world.loop.create_task(reactor.run()))

    async def suspend(self) -> None:
        """Let transactions under way end before partitions move, which do not wait for long."""
        await patiently(self._process, (here.reactor.suspend() for here in self.here.values()))

    async def close(self, keys: Iterable[Key]) -> None:
        """React to some partitions no more; what takes too long ends beside whoever reacts next."""
        going = [self.here.pop(key) for key in keys if key in self.here]
        self._closing += going
        await patiently(self._process, (_close(here) for here in going))

    def kill(self) -> None:
        """End at once."""
        for here in (*self.here.values(), *self._closing):
            here.task.cancel()

    def behind(self) -> list[str]:
        """Return what is not reacted to up to now, with the reason; not those that have stopped: these were judged."""
        left, world, now = [], self._process.world, recorded_at(self._clock.now())
        for (kind, partition), (reactor, _) in self.here.items():
            if reactor.phase == STOPPED:
                continue
            name = f"the reactor of {kind}-{partition} on worker {self._process.number}"
            entries = world.model.logs[world.names.events(kind), partition].entries
            committed = (each.end for each in entries if not each.is_marker and each.status is Status.COMMITTED)
            due = reactor._processes.next_due()  # noqa: SLF001 - nothing else says it
            if reactor.phase != RUNNING:
                left.append(f"{name} is {reactor.phase}: {reactor.reason}")
            elif reactor.position < (end := max(committed, default=0)):
                left.append(f"{name} is at {reactor.position} of {end}")
            elif due is not None and due <= now:
                left.append(f"{name} has a timer of {due}")
        return left


async def _close(here: Here) -> None:
    await ended(here.task)
    await here.reactor.close()
