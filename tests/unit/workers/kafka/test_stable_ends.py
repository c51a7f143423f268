"""The ends of partitions are asked for until somebody closes, whatever closes a client meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from annals.workers.kafka.read.stable_ends import StableEnds

if TYPE_CHECKING:
    import pytest


class Closing:
    """Stands for connections that fail; the client of the first one is being closed when its task is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    async def connect(self, *_: Any) -> None:
        if not self.began.is_set():
            self.began.set()
            with suppress(asyncio.CancelledError):  # as aiokafka's client does while it closes
                await asyncio.Event().wait()
        raise TimeoutError


async def test_a_cancellation_that_a_closing_client_takes_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closing = Closing()
    monkeypatch.setattr("annals.workers.kafka.read.stable_ends.connect", closing.connect)
    ends = StableEnds({}, ["events.person"], interval_s=0.001)
    waiting = asyncio.create_task(ends.until_moved(("events.person", 0), 0))
    await asyncio.wait_for(closing.began.wait(), 10)
    closed = asyncio.create_task(ends.close())
    done, _ = await asyncio.wait({closed}, timeout=10)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert closed in done
