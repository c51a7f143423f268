"""An actor per assigned partition: opened on assignment, kept through a rebalance, closed when it is taken.

What an actor is, a shard that decides or one that is read from, is said by the wiring of its role. Beside them are the
standbys: actors of partitions that others own, which open the very stores that their owners here would. So no two of a
partition are ever open together.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import structlog

from annals.agents.waiting import ended
from annals.workers.open_files import most_shards, too_few

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiokafka.structs import TopicPartition

log = structlog.get_logger(__name__)

NO_STANDBYS: Final[Mapping[str, Iterable[int]]] = MappingProxyType({})
Key = tuple[str, int]  # kind, partition


class Actor(Protocol):
    """What is opened for a partition."""

    async def run(self) -> None:
        """Work until cancelled or stopped for good."""

    async def suspend(self) -> None:
        """Begin nothing new, and let what is in flight end: partitions are about to move."""

    def resume(self) -> None:
        """Go on after a rebalance that left the partition here."""

    async def close(self) -> None:
        """Close what is open. `run` has ended."""


A = TypeVar("A", bound=Actor)


class Wiring(Protocol[A]):
    """What a role makes of a partition."""

    def open(self, key: Key) -> A:
        """Return a new actor, which runs from now on."""

    def closed(self, key: Key, actor: A) -> None:
        """Take that an actor is closed."""

    def problem(self, key: Key, actor: A) -> str | None:
        """Return why an actor is not ready; None when it is."""


class StandbyWiring(Protocol):
    """What a role makes of a partition that it is a standby of."""

    def open(self, key: Key) -> Actor:
        """Return a new actor, which runs from now on, through rebalances: it is neither suspended nor resumed."""

    def closed(self, key: Key, actor: Any) -> None:
        """Take that an actor is closed."""


class Partitions(Generic[A]):
    """The actors of one consumer group's member."""

    def __init__(
        self,
        kinds: Mapping[str, str],
        wiring: Wiring[A],
        files: int,
        named: str,
        standbys: StandbyWiring | None = None,
    ) -> None:
        """Take each topic's kind, what makes the actors, how many files may be open, and how the log names actors.

        standbys: what makes standbys; None: there are none here, whatever the leader says.
        """
        self._kinds = kinds
        self._wiring = wiring
        self._standby_wiring = standbys
        self._standbys: dict[Key, Actor] = {}
        self._standby_assigned = f"standbys of {named} assigned"
        self._files = files
        self._too_few = f"too few files for the {named} assigned"
        self._assigned = f"{named} assigned"
        self._all_open = f"all {named} open"
        self._too_few_files: str | None = None
        self._actors: dict[Key, A] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._standby_tasks: dict[Key, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self.is_assigned = False
        self._are_open = False

    def of(self, topic: str, partition: int) -> A | None:
        """Return the actor of a topic's partition; None if it is not here."""
        return self._actors.get((self._kinds[topic], partition))

    def get(self, key: Key) -> A | None:
        """Return an actor; None if it is not here."""
        return self._actors.get(key)

    def all(self) -> list[A]:
        """Return the actors that are here, in order."""
        return [self._actors[key] for key in sorted(self._actors)]

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Suspend before partitions move: what is in flight may end, nothing new begins."""
        del revoked  # a rebalance takes all partitions at once; which ones come back is known only afterwards
        self.is_assigned = self._are_open = False
        await self.suspend()

    def standbys(self) -> list[Any]:
        """Return the standbys that are here, in order."""
        return [self._standbys[key] for key in sorted(self._standbys)]

    async def on_partitions_assigned(
        self, assigned: Iterable[TopicPartition], standby: Mapping[str, Iterable[int]] = NO_STANDBYS
    ) -> None:
        """Close what was taken, go on with what stayed, open what is new.

        standby: the partitions of others that this member is a standby of, by topic. All that is closed gives up its
        store before anything is opened: a standby becomes an owner, or the other way round, in one folder.
        """
        wanted = {(self._kinds[tp.topic], tp.partition) for tp in assigned if tp.topic in self._kinds}
        log.info(self._assigned, shards=[_named(key) for key in sorted(wanted)])
        standing = self._standing(standby, wanted)
        async with self._changing:
            await asyncio.gather(
                *(self._close(key) for key in list(self._actors) if key not in wanted),
                *(self._close_standby(key) for key in list(self._standbys) if key not in standing),
            )
            self._too_few_files = too_few(self._files, len(wanted))
            for key in sorted(wanted):
                if key in self._actors:
                    self._actors[key].resume()
                elif len(self._actors) < most_shards(self._files):
                    self._open(key)
            self._open_standbys(standing)
        if self._too_few_files:
            log.error(self._too_few, reason=self._too_few_files)
        self.is_assigned = True

    def not_ready(self) -> list[str]:
        """Return why this member is not ready, a reason per actor; empty when it is."""
        if not self.is_assigned:
            return ["no partitions have been assigned yet: a rebalance is under way, or the group cannot be reached"]
        reasons = [self._too_few_files] if self._too_few_files else []
        problems = (self._wiring.problem(key, self._actors[key]) for key in sorted(self._actors))
        return reasons + [problem for problem in problems if problem is not None]

    def announce(self) -> None:
        """Say once after each assignment that all actors are open."""
        if not self._are_open and not self.not_ready():
            self._are_open = True
            log.info(self._all_open, shards=len(self._actors))

    async def suspend(self) -> None:
        """Let what is in flight end, and begin nothing new."""
        await asyncio.gather(*(actor.suspend() for actor in self.all()))

    async def close(self) -> None:
        """Close all actors."""
        async with self._changing:
            await asyncio.gather(
                *(self._close(key) for key in list(self._actors)),
                *(self._close_standby(key) for key in list(self._standbys)),
            )

    def _standing(self, standby: Mapping[str, Iterable[int]], wanted: Collection[Key]) -> list[Key]:
        """Return what this member is to be a standby of, as far as there are files behind those of its own."""
        if self._standby_wiring is None:
            return []
        told = {(self._kinds[topic], each) for topic, of in standby.items() if topic in self._kinds for each in of}
        known_first = sorted(told.difference(wanted), key=lambda key: (key not in self._standbys, key))
        room = max(0, most_shards(self._files) - len(wanted))
        if left_out := sorted(known_first[room:]):
            log.warning("too few files for all standbys", left_out=[_named(key) for key in left_out])
        return sorted(known_first[:room])

    def _open_standbys(self, standing: Iterable[Key]) -> None:
        for key in standing:
            if key not in self._standbys and self._standby_wiring is not None:
                actor = self._standbys[key] = self._standby_wiring.open(key)
                self._standby_tasks[key] = asyncio.create_task(actor.run(), name="standby {}-{}".format(*key))
        if self._standbys:
            log.info(self._standby_assigned, shards=[_named(key) for key in sorted(self._standbys)])

    def _open(self, key: Key) -> None:
        actor = self._actors[key] = self._wiring.open(key)
        self._tasks[key] = asyncio.create_task(actor.run(), name="shard {}-{}".format(*key))

    async def _close(self, key: Key) -> None:
        actor = self._actors.pop(key)
        await ended(self._tasks.pop(key))
        await actor.close()
        self._wiring.closed(key, actor)

    async def _close_standby(self, key: Key) -> None:
        actor = self._standbys.pop(key)
        await ended(self._standby_tasks.pop(key))
        await actor.close()
        if self._standby_wiring is not None:
            self._standby_wiring.closed(key, actor)


def _named(key: Key) -> str:
    return "{}-{}".format(*key)
