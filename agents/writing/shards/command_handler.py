"""The command handler: the async function that Faust runs as the agent of a kind's commands.

Each fetch of a partition comes whole, as one delivery, and goes to that partition's shard, the actor that decides and
writes alone. The handler keeps nothing: what is under way belongs to the shard, which outlives a restart of the agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    from annals.agents.ports import Delivery
    from annals.agents.writing.shards.shard import Shard


def command_handler(
    shard_of: Callable[[str, int], Shard | None],
) -> Callable[[AsyncIterable[Delivery]], Awaitable[None]]:
    """Return the handler over a worker's shards.

    shard_of: the shard of a command topic's partition; None when that is not here any more, and its commands are the
    next owner's.
    """

    async def handle_commands(deliveries: AsyncIterable[Delivery]) -> None:
        async for delivery in deliveries:
            shard = shard_of(delivery.topic, delivery.partition)
            if shard is not None:
                shard.offer(delivery)

    return handle_commands
