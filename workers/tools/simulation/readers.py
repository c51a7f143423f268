"""The reading shards of one process of a history, over connections of their own: its own partitions', and standbys."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import StaleStateError, StoppedError, StoreError, UnreachableError
from annals.agents.reading.following.losses import Losses
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.found import READING, STOPPED
from annals.agents.reading.ports import BrokenChainError
from annals.agents.waiting import ended
from annals.schemas.journal_reader import GapError
from annals.topics.group_metadata import NOTHING_KNOWN
from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.memory.client import Cluster
from annals.workers.reading.acknowledged import KafkaAcknowledged
from annals.workers.reading.followed import EitherSource
from annals.workers.reading.restore_point import KafkaRangedJournal
from annals.workers.reading.watch import ReadingWatch
from annals.workers.tools.simulation.network import Network
from annals.workers.tools.simulation.plan import KINDS, PARTITIONS
from annals.workers.tools.simulation.publishers import Publishers
from annals.workers.tools.simulation.reactors import Reactors
from annals.workers.tools.simulation.reading_disks import RowStores
from annals.workers.tools.simulation.source import SimulatedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from annals.agents.ports import Clock, Delivery
    from annals.topics.group_metadata import GroupMetadata
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World


EXPECTED: Final = (StoreError, BrokenChainError, GapError, StoppedError, StaleStateError, UnreachableError)


class JudgedShard(Shard):
    """A reading shard of which somebody hears when it opens, why it stops, and what it failed with that nobody expects.

    opened_at: when it began to open; said: what the group's offset said of the journal then.
    """

    judge: Callable[[str], None]
    failed: Callable[[Exception], None]
    now: Callable[[], float]
    known: Callable[[], GroupMetadata]
    has_opened: Callable[[], None]
    opened_at = 0.0
    said: GroupMetadata = NOTHING_KNOWN

    @property
    def known_until(self) -> int:
        """The offset of the last event that was acknowledged when it began to open; -1: of none."""
        return -1 if self.said.last is None else self.said.last.offset

    @property
    def last_cid(self) -> bytes:
        """The CID of the last record that it read."""
        return b"" if self._fold is None else self._fold.position.last_cid

    async def run(self) -> None:
        """Follow the journal until the task is cancelled."""
        await self._told(super().run())

    async def _open(self) -> None:
        self.opened_at, self.said = self.now(), self.known()
        await self._told(super()._open())
        self.has_opened()

    async def _follow(self) -> None:
        await self._told(super()._follow())

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        """Have a failure known that nobody waits for, or behind which the shard would try again."""
        try:
            await work
        except EXPECTED:
            raise
        except Exception as error:
            self.failed(error)
            raise

    def _stop(self, error: Exception) -> None:
        self.judge(str(error))
        super()._stop(error)


class Telemetry:
    """Counts what befalls reading shards (the `ReadingTelemetry` port)."""

    def __init__(self, world: World) -> None:
        """Take where it is counted."""
        self._counts = world.counts

    def damaged(self) -> None:
        """A store was damaged."""
        self._counts["reading store damaged"] += 1

    def chain_broken(self) -> None:
        """What was read was not what the journal had."""
        self._counts["reading chain broken"] += 1

    def snapshot_left_out(self) -> None:
        """Not looked at."""


class Followed(NamedTuple):
    """A partition that is read here."""

    shard: JudgedShard
    source: EitherSource
    stores: RowStores
    task: asyncio.Task[None]


class Leaders:
    """Who leads which partition, as the metadata says: another one after each unclean election."""

    def __init__(self, world: World) -> None:
        """Take the world."""
        self._world = world

    def leader_for_partition(self, partition: Any) -> int:
        """Return the number of the leader: how many there were before."""
        return self._world.elections[tuple(partition)]

    def brokers(self) -> tuple[Any, ...]:
        """Return the brokers that can be told apart: none."""
        return ()

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""
        del topic
        return set(range(PARTITIONS))


class Readers:
    """What a process reads, as `annals.workers.reading.shards` wires it."""

    def __init__(self, process: Process, group: str, clock: Clock) -> None:
        """Take whose they are; there are none yet, and nothing is connected."""
        world = process.world
        self.network = Network(world, process, "readers of ")
        self.here: dict[Key, Followed] = {}
        self.at_opening: dict[Key, Callable[[], None]] = {}
        """What happens when the shard of a partition has opened, and has read nothing yet: once."""
        self.publishers = Publishers(process, self.network, group, clock)
        self.reactors = Reactors(process, self.network, group, clock)
        self.standing = SimpleNamespace(all=lambda: self._all(is_standby=True))
        self.partitions_here = SimpleNamespace(announce=lambda: None)
        self._process = process
        self._group = group
        self._clock = clock
        cluster = Cluster(world.model, self.network)
        client: Any = cluster.client()
        client.cluster = Leaders(world)
        self._client = client
        self._turns = asyncio.Semaphore(1)
        self._moving = asyncio.Lock()  # a shard that is closing still has its store
        metrics = SimpleNamespace(broker_up=SimpleNamespace(set=_nothing), measure=_nothing, measure_standby=_nothing)
        sources = SimpleNamespace(commit=_nothing_later, refresh=_nothing, unfetched=_nothing)
        here: Any = self
        group_of: Any = sources
        measured: Any = metrics
        options = {CLUSTER: cluster, "bootstrap_servers": "memory"}
        self._watch = ReadingWatch(options, self._client, here, group_of, measured)

    async def watch(self) -> None:
        """Look at the journals each second."""
        await self._watch.run()

    def all(self) -> list[Shard]:
        """Return the shards of the process's own partitions."""
        return self._all(is_standby=False)

    def journals(self) -> list[str]:
        """Return the topics of all journals."""
        return [self._process.world.names.events(kind) for kind in KINDS]

    def where(self, shard: Shard) -> TopicPartition:
        """Return the journal partition of a shard."""
        return TopicPartition(self._process.world.names.events(shard.kind), shard.partition)

    async def assigned(self, owned: Iterable[Key], standing: Iterable[Key]) -> None:
        """Close what is neither this process's nor followed any more; the others take over, stand by, go on, open."""
        wanted = dict.fromkeys(owned, False) | dict.fromkeys(standing, True)
        async with self._moving:
            for beside in (self.publishers, self.reactors):
                await beside.close([key for key in beside.here if wanted.get(key, True)])
            await asyncio.gather(*(self._close(key) for key in list(self.here) if key not in wanted))
            for key, is_standby in wanted.items():
                self._follow(key, is_standby=is_standby)

    async def restart(self, keys: Iterable[Key]) -> None:
        """Have some shards end and begin anew, as a child process that ended."""
        async with self._moving:
            for key in [key for key in keys if key in self.here]:
                is_standby = self.here[key].shard.status().standby
                await self._close(key)
                self._follow(key, is_standby=is_standby)

    def kill(self) -> None:
        """End at once."""
        self.publishers.kill()
        self.reactors.kill()
        for followed in self.here.values():
            followed.task.cancel()

    def stopped(self) -> dict[Key, str]:
        """Return the shards that have stopped, with their reasons."""
        status = {key: followed.shard.status() for key, followed in self.here.items()}
        return {key: each.reason for key, each in status.items() if each.phase == STOPPED}

    def behind(self) -> list[str]:
        """Return the shards that do not read, or are not where the journal is stable, with the reason."""
        world, left = self._process.world, []
        for key, followed in self.here.items():
            status, stable = followed.shard.status(), world.model.logs[world.names.events(key[0]), key[1]].stable
            name = f"the reader of {key[0]}-{key[1]} on worker {self._process.number}"
            if status.phase != READING or status.reason or status.stale:
                left.append(f"{name} is {status.phase}: {status.reason or status.stale}")
            elif not status.reached or status.offset != stable:
                left.append(f"{name} has read up to {status.offset} of {stable}")
        return left

    def _all(self, *, is_standby: bool) -> list[Shard]:
        return [each.shard for each in self.here.values() if each.shard.status().standby is is_standby]

    def _follow(self, key: Key, *, is_standby: bool) -> None:
        followed = self.here.get(key)
        if followed is None:
            followed = self.here[key] = self._opened(key, is_standby=is_standby)
        elif followed.shard.status().standby is is_standby:
            if not is_standby:
                followed.shard.go_on()
        else:
            followed.source.turn(is_standby=is_standby)
            (followed.shard.stand_by if is_standby else followed.shard.take_over)()
        if not is_standby:
            self._process.spawn(_look(followed.shard))
            if self._process.world.plan.has_publishers:
                self.publishers.follow(key, followed.shard)
            if self._process.world.plan.has_reactions:
                self.reactors.follow(key, followed.shard)

    def _opened(self, key: Key, *, is_standby: bool) -> Followed:
        kind, partition = key
        process, client = self._process, self._client
        world = process.world
        where = world.names.events(kind), partition

        def deliver(delivery: Delivery, *, to_standby: bool) -> None:
            if shard.status().standby is to_standby:  # else it was fetched for the one that it was before
                shard.deliver(delivery)

        source = EitherSource(
            SimulatedSource(process, where, partial(deliver, to_standby=False)),
            SimulatedSource(process, where, partial(deliver, to_standby=True)),
        )
        stores = RowStores(process, key)
        losses = Losses(
            kind,
            partition,
            KafkaRangedJournal(client, *where),
            KafkaAcknowledged(client, self._group, TopicPartition(world.names.commands(kind), partition)),
        )
        shard = JudgedShard(
            world.deciders[kind],
            partition,
            PARTITIONS,
            stores,
            KafkaJournalPartition(client, *where),
            source,
            self._clock,
            Telemetry(world),
            turns=self._turns,
            losses=losses,
        )
        shard.judge, shard.now = partial(world.reading.told, process, key), world.loop.time
        shard.failed = partial(world.reading.failed, process, key)
        shard.known = partial(world.person.known, key)
        shard.has_opened = partial(self._has_opened, key)
        if is_standby:
            source.turn(is_standby=True)
            shard.stand_by()
        return Followed(shard, source, stores, world.loop.create_task(shard.run()))

    def _has_opened(self, key: Key) -> None:
        self.at_opening.pop(key, _nothing)()

    async def _close(self, key: Key) -> None:
        followed = self.here.pop(key)
        await self.publishers.close([key])
        await self.reactors.close([key])
        await ended(followed.task)
        await followed.shard.close()


async def _look(shard: Shard) -> None:
    """Ask at once where the journal of a partition that was taken over ends, as its actor does."""
    with suppress(KafkaError, OSError, TimeoutError):
        await shard.look()


def _nothing(*_: Any) -> None:
    """Neither gauges nor a group's metadata are looked at."""


async def _nothing_later(*_: Any) -> None:
    """Offsets for lag tools are not looked at."""
