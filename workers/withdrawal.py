"""A worker that cannot open its stores leaves the group to others, and comes back when it can.

A store fails for reasons of this worker's own: its disk is full or gone, its rights or files are missing, or its disk
or memory damages one store after the other. What it keeps in the group stands still, although another worker could
have it. One that is alone in the group stays: nobody else would take what it has, and it goes on trying. The group is
that of one role: a worker may read no more and still decide.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError

from annals.agents.cancellation import is_task_cancelled
from annals.agents.ports import StoreDamagedError, StoreUnavailableError
from annals.agents.waiting import ended
from annals.workers.kafka.connections import connect
from annals.workers.kafka.group.instances import group_members

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from annals.agents.folding.damage import DamagedStores, Failing

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 10.0  # for which a store may fail to open: a disk or a right may come back at once
LOOK_S: Final = 1.0
FIRST_RETRY_S: Final = 5.0  # each time that it leaves, others have a rebalance
LAST_RETRY_S: Final = 300.0


class StoredShard(Protocol):
    """A shard that folds into a store."""

    @property
    def damaged_stores(self) -> DamagedStores:
        """What knows how its stores fail."""


class Withdrawal:
    """Says when a worker has to leave its group, and when it may come back."""

    def __init__(self, options: Mapping[str, Any], group: str, instance_id: str | None) -> None:
        """Take aiokafka options, the group, and the instance id of a static member."""
        self._options = options
        self._group = group
        self._instance_id = instance_id
        self._retry_s = FIRST_RETRY_S
        self.reason: str | None = None
        """Why the worker is outside of the group."""
        self._failing: Sequence[Failing] = ()

    async def until_due(self, shards: Callable[[], Iterable[StoredShard]]) -> None:
        """Wait until stores have failed for too long, and another member could have their shards.

        shards: returns those that are here.
        """
        began = asyncio.get_running_loop().time()
        while True:
            failing = [each for shard in shards() if (each := shard.damaged_stores.failing(PATIENCE_S))]
            if failing and await self._has_others(is_member=True):
                break
            await asyncio.sleep(LOOK_S)
        if asyncio.get_running_loop().time() - began > LAST_RETRY_S:
            self._retry_s = FIRST_RETRY_S
        self._failing = failing
        self.reason = f"this worker cannot open its stores, and left the consumer group to others: {failing[0].reason}"
        log.error("leaving the consumer group", group=self._group, reason=failing[0].reason)

    async def stay_outside(self, unless_stopped: Callable[[asyncio.Task[None]], Awaitable[Any]]) -> None:
        """Wait until the worker may come back; one that did not leave may at once.

        unless_stopped: waits for the end of a task, at most until the process is to stop.
        """
        if self.reason is None:
            return
        returning = asyncio.create_task(self.until_over(), name="outside of the group")
        try:
            await unless_stopped(returning)
        finally:
            await ended(returning)

    async def until_over(self) -> None:
        """Wait until nobody else is in the group, or the stores can be opened, which is tried ever more seldom."""
        clock = asyncio.get_running_loop().time
        tries_at = clock() + self._retry_s
        while True:
            # Of several that left at once one is the first to be back, and the others see it.
            await asyncio.sleep(FIRST_RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            if not await self._has_others(is_member=False):
                break
            if clock() >= tries_at:
                self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
                tries_at = clock() + self._retry_s
                if await self._can_open():
                    break
        log.info("coming back to the consumer group", group=self._group)
        self.reason = None

    async def _can_open(self) -> bool:
        for failing in self._failing:
            try:
                await _try(failing)
            except Exception as error:  # noqa: BLE001 - the binding raises bare Exceptions with RocksDB's words
                log.warning("the stores still cannot be opened", reason=str(error))
                return False
        return True

    async def _has_others(self, *, is_member: bool) -> bool:
        try:
            client = await connect(self._options, ())
            try:
                coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
                members = await group_members(client, coordinator, self._group)
            finally:
                await client.close()
        except (KafkaError, OSError, asyncio.CancelledError):
            if is_task_cancelled():
                raise
            return not is_member  # as long as nobody knows, the worker stays where it is, in the group or outside
        others = [member for member in members if not self._instance_id or member.instance_id != self._instance_id]
        return len(others) > (1 if is_member and not self._instance_id else 0)


async def _try(failing: Failing) -> None:
    """Open a store and close it; a damaged one is set aside, as the shard would that opens it next, or left to rest."""
    stores = failing.stores
    if time.monotonic() < failing.rests_until:
        raise StoreUnavailableError(failing.reason)
    try:
        await stores.close(await stores.open())
    except StoreDamagedError as damage:
        await stores.set_aside(damage)
