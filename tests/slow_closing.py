"""A client of aiokafka's whose task in the background takes a moment to end: who closes it waits in there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient

from annals.workers.kafka.connections import connect

if TYPE_CHECKING:
    import pytest

OPTIONS = {"bootstrap_servers": "nowhere:9092"}
WITHIN_S = 60


class SlowClosing:
    """Makes clients that need no broker. is_closing: somebody waits until one is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_closing, self._goes_on = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(AIOKafkaClient, "bootstrap", self._bootstrap())
        monkeypatch.setattr(AIOKafkaClient, "set_topics", self._set_topics)

    async def cancelled_while_closing(self, task: asyncio.Task[Any]) -> bool:
        """Cancel a task while it closes a client; whether it ends, and cancelled."""
        async with asyncio.timeout(WITHIN_S):
            await self.is_closing.wait()
        task.cancel()
        await asyncio.sleep(0)
        self._goes_on.set()
        await asyncio.wait([task], timeout=WITHIN_S)
        return task.cancelled()

    async def client(self) -> AIOKafkaClient:
        return await connect(OPTIONS, ())

    def _bootstrap(self) -> Any:
        async def synchronizing() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.is_closing.set()
                await self._goes_on.wait()

        async def bootstrap(client: Any) -> None:
            client._sync_task = asyncio.create_task(synchronizing())
            await asyncio.sleep(0)

        return bootstrap

    async def _set_topics(self, topics: Any) -> bool:
        return True
