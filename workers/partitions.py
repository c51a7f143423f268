"""An actor per assigned partition: opened on assignment, kept through a rebalance, closed when it is taken.

What an actor is, a shard that decides or one that is read from, is said by the wiring of its role.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import structlog

from annals.workers.open_files import most_shards, too_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiokafka.structs import TopicPartition

log = structlog.get_logger(__name__)

CANCEL_AGAIN_S: Final = 0.5
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


class Partitions(Generic[A]):
    """The actors of one consumer group's member."""

    def __init__(self, kinds: Mapping[str, str], wiring: Wiring[A], files: int, named: str) -> None:
        """Take each topic's kind, what makes the actors, how many files may be open, and how the log names actors."""
        self._kinds = kinds
        self._wiring = wiring
        self._files = files
        self._too_few = f"too few files for the {named} assigned"
        self._assigned = f"{named} assigned"
        self._all_open = f"all {named} open"
        self._too_few_files: str | None = None
        self._actors: dict[Key, A] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
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

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Close what was taken, go on with what stayed, open what is new."""
        wanted = {(self._kinds[tp.topic], tp.partition) for tp in assigned if tp.topic in self._kinds}
        async with self._changing:
            await asyncio.gather(*(self._close(key) for key in list(self._actors) if key not in wanted))
            self._too_few_files = too_few(self._files, len(wanted))
            for key in sorted(wanted):
                if key in self._actors:
                    self._actors[key].resume()
                elif len(self._actors) < most_shards(self._files):
                    self._open(key)
        if self._too_few_files:
            log.error(self._too_few, reason=self._too_few_files)
        self.is_assigned = True
        log.info(self._assigned, shards=[f"{kind}-{partition}" for kind, partition in sorted(wanted)])

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
            await asyncio.gather(*(self._close(key) for key in list(self._actors)))

    def _open(self, key: Key) -> None:
        actor = self._actors[key] = self._wiring.open(key)
        kind, partition = key
        self._tasks[key] = asyncio.create_task(actor.run(), name=f"shard {kind}-{partition}")

    async def _close(self, key: Key) -> None:
        actor, task = self._actors.pop(key), self._tasks.pop(key)
        while not task.done():
            # aiokafka's clients, closing, take a cancellation that meets them for that of a task of their own
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
        await actor.close()
        self._wiring.closed(key, actor)
