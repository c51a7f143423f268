"""A reading shard that runs, as an owner's or as a standby's; from one to the other it stays open.

Its records come from the group's consumer while this worker has the partition, and from a consumer outside of the group
while it is a standby.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.waiting import ended

if TYPE_CHECKING:
    from annals.agents.ports import CommandSource
    from annals.agents.reading.ahead.ports import BesideStores
    from annals.agents.reading.following.shard import Shard


class EitherSource:
    """Delivers from one of two sources (the `CommandSource` port); what the other one brings is nobody's."""

    def __init__(self, owned: CommandSource, standby: CommandSource) -> None:
        """Take the source of an owner and that of a standby. None delivers before `deliver_from`."""
        self._owned = owned
        self._standby = standby
        self._now = owned

    @property
    def generation(self) -> int:
        """The generation in which records are fetched now."""
        return self._now.generation

    @property
    def is_damaged(self) -> bool:
        """Whether a damaged batch was delivered that is there yet."""
        return self._now.is_damaged

    def turn(self, *, is_standby: bool) -> None:
        """Deliver from the other source, once `deliver_from` says from where."""
        self._now.pause()
        self._now = self._standby if is_standby else self._owned

    def deliver_from(self, offset: int) -> None:
        """Deliver from this offset on."""
        self._now.deliver_from(offset)

    def decided_until(self, next_offset: int) -> int:
        """Return the offset below which there are markers alone if all records below another one were read."""
        return self._now.decided_until(next_offset)

    def pause(self) -> None:
        """Fetch no more for the time being."""
        self._now.pause()

    def resume(self) -> None:
        """Fetch again."""
        self._now.resume()


class FollowedPartition:
    """A reading shard of this process, an owner's or a standby's, and the task that it runs in."""

    def __init__(self, shard: Shard, source: EitherSource, stores: BesideStores) -> None:
        """Take the shard, its source, and what opens stores beside its own."""
        self.shard: Final = shard
        self.stores: Final = stores
        self._source = source
        self._task: asyncio.Task[None] | None = None

    def start(self, *, is_standby: bool) -> None:
        """Begin to follow the journal."""
        if is_standby:
            self.stand_by()
        name = f"shard {self.shard.kind}-{self.shard.partition}"
        self._task = asyncio.create_task(self._run(), name=name)

    def stand_by(self) -> None:
        """Follow as a standby from now on, where the shard stands."""
        self._source.turn(is_standby=True)
        self.shard.stand_by()

    def take_over(self) -> None:
        """Follow as the owner from now on, where the shard stands."""
        self._source.turn(is_standby=False)
        self.shard.take_over()

    async def close(self) -> None:
        """End and close the shard."""
        if self._task is not None:
            await ended(self._task)
        await self.shard.close()

    async def _run(self) -> None:
        await asyncio.gather(self.shard.run(), self.shard.sweep())
