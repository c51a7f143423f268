"""The event handler: the async function that Faust runs as the agent of a kind's journal.

Each fetch of a partition comes whole, as one delivery, and goes to the reading shard that follows it. The handler keeps
nothing: a position is its shard's, in the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    from annals.agents.ports import Delivery


class Follows(Protocol):
    """What takes the records of a journal partition."""

    def deliver(self, delivery: Delivery) -> None:
        """Take what a fetch brought."""


def event_handler(
    shard_of: Callable[[str, int], Follows | None],
) -> Callable[[AsyncIterable[Delivery]], Awaitable[None]]:
    """Return the handler over a worker's reading shards.

    shard_of: the reading shard of a journal partition; None when that is not here any more.
    """

    async def handle_events(deliveries: AsyncIterable[Delivery]) -> None:
        async for delivery in deliveries:
            shard = shard_of(delivery.topic, delivery.partition)
            if shard is not None:
                shard.deliver(delivery)

    return handle_events
