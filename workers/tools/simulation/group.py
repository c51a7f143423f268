"""The consumer group of a history: who has which partition, and how partitions move."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.workers.tools.simulation.plan import KINDS, PARTITIONS

if TYPE_CHECKING:
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

SESSION_S: Final = 8.0
KEYS: Final[tuple[Key, ...]] = tuple((kind, partition) for kind in KINDS for partition in range(PARTITIONS))
STAYS: Final = 0.7  # of the partitions, where their owner is still there


class Group:
    """Rebalances, one at a time, whenever somebody asks for one."""

    def __init__(self, world: World) -> None:
        """Begin without members."""
        self._world = world
        self._rng = world.chance("group")
        self._is_wanted = asyncio.Event()
        self._standby_rng = world.chance("standbys")
        self.owners: dict[Key, Process] = {}
        self.standing: dict[Key, Process] = {}
        """The standby of each partition, as far as there is another worker than its owner."""
        self._readers_rng = world.chance("readers")
        self._readers_stay = True
        self.readers: dict[Key, list[Process]] = {}
        """Who reads each partition, and who is a standby of who does, as far as there are workers."""

    def rebalance(self) -> None:
        """Ask for a rebalance."""
        self._is_wanted.set()

    async def run(self) -> None:
        """Rebalance whenever it is asked for."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))
            members = self._members()
            await asyncio.gather(*(member.spawn(member.revoked()) for member in members), return_exceptions=True)
            members = [member for member in members if member in self._members()]
            if not members:
                continue
            for key in KEYS:
                owner = self.owners.get(key)
                if owner not in members or self._rng.random() > STAYS:
                    self.owners[key] = self._next_owner(key, members)
            self._choose_standbys(members)
            self._choose_readers(members)
            told = [
                member.spawn(
                    self._tell(
                        member,
                        [key for key in KEYS if self.owners[key] is member],
                        [key for key in KEYS if self.standing.get(key) is member],
                    )
                )
                for member in members
            ]
            await asyncio.gather(*told, return_exceptions=True)

    def _next_owner(self, key: Key, members: list[Process]) -> Process:
        """Return the next owner: mostly its standby, where there is one."""
        standby = self.standing.get(key)
        if standby is not None and standby in members and self._standby_rng.random() < STAYS:
            self._world.counts["taken over by a standby"] += 1
            return standby
        return self._rng.choice(members)

    def _choose_standbys(self, members: list[Process]) -> None:
        """Choose each partition's standby, if there are to be any: mostly the one that it had."""
        if not self._world.plan.has_standbys:
            return
        before, self.standing = self.standing, {}
        for key in KEYS:
            others = [member for member in members if member is not self.owners[key]]
            if others:
                stays = before.get(key) in others and self._standby_rng.random() < STAYS
                self.standing[key] = before[key] if stays else self._standby_rng.choice(others)

    def move_readers(self) -> None:
        """Ask for a rebalance behind which others read."""
        self._readers_stay = False
        self.rebalance()

    def missing_readers(self, *, has_standbys: bool) -> list[Key]:
        """Return the partitions that have no reader, or no standby of it."""
        return [key for key in KEYS if len(self.readers.get(key, ())) < 1 + has_standbys]

    def _choose_readers(self, members: list[Process]) -> None:
        """Choose who reads each partition, if anybody is to: mostly who did, or its standby."""
        if not self._world.plan.has_readers:
            return
        for key in KEYS:
            before = [each for each in self.readers.get(key, ()) if each in members]
            others = [each for each in members if each not in before]
            self._readers_rng.shuffle(others)
            chosen = [*before, *others]
            if not self._readers_stay or self._readers_rng.random() > STAYS:
                self._readers_rng.shuffle(chosen)
            self.readers[key] = chosen[:2]
        self._readers_stay = True

    async def _tell(self, member: Process, keys: list[Key], standing: list[Key]) -> None:
        await asyncio.sleep(self._rng.expovariate(20))
        await member.assigned(keys, standing)
        if self._world.plan.has_readers:
            has = [[key for key, who in self.readers.items() if who[at : at + 1] == [member]] for at in range(2)]
            await member.readers.assigned(*has)

    def _members(self) -> list[Process]:
        return [each for each in self._world.processes if each.can_reach() and not each.is_lost]
