"""Sends commands for the API: connects with the first, so that reading does not wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from annals.workers.client.commands import CommandClient

if TYPE_CHECKING:
    from annals.workers.client.outcomes import Pending
    from annals.workers.client.sendable import Sendable
    from annals.workers.settings import Settings


class CommandSender:
    """A `CommandClient` that is started when it is needed."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings."""
        self._settings = settings
        self._client: CommandClient | None = None
        self._starting = asyncio.Lock()

    async def submit(self, command: Sendable) -> Pending:
        """Send a command without waiting for its outcome.

        Raises:
            KafkaError: no broker answers.
            NotSendableError: it cannot be handed to the broker.
            MissingTopicError: the kind has no topics.
        """
        async with self._starting:
            if self._client is None:
                client = CommandClient(self._settings)
                await client.start()
                self._client = client
        return await self._client.submit(command)

    async def stop(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.stop()
