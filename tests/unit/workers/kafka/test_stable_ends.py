"""The ends of partitions are asked for until somebody closes, whatever closes a client meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from annals.workers.kafka.connections import CLUSTER
from annals.workers.kafka.read.stable_ends import StableEnds
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Held:
    """A network that holds requests while nothing may go."""

    def __init__(self) -> None:
        self.is_asked, self.may_go = asyncio.Event(), asyncio.Event()
        self.may_go.set()

    async def ask(self, request: Any, serve: Callable[[Any], Any]) -> Any:
        self.is_asked.set()
        await self.may_go.wait()
        return serve(request)


async def test_a_cancellation_that_a_closing_client_takes_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closing = Closing()
    monkeypatch.setattr("annals.workers.kafka.read.stable_ends.connect", closing.connect)
    ends = StableEnds({}, ["events.person"], interval_s=0.001)
    waiting = asyncio.create_task(ends.until_moved(TopicPartition("events.person", 0), 0))
    await asyncio.wait_for(closing.began.wait(), 60)
    closed = asyncio.create_task(ends.close())
    done, _ = await asyncio.wait({closed}, timeout=60)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert closed in done


async def test_an_end_of_before_somebody_waited_is_not_one_that_a_partition_has_lost() -> None:
    """A partition that had an owner here meanwhile is folded beyond the end that was asked for before that."""
    where, other = TopicPartition("events.person", 0), TopicPartition("events.person", 1)
    model = MemoryCluster({"events.person": Topic(2)})
    network = Held()
    ends = StableEnds({CLUSTER: Cluster(model, network)}, ["events.person"], interval_s=0.001)
    model.append(where, b"p-1", b"event")
    assert await ends.until_moved(where, 0) == 1
    model.append(where, b"p-1", b"event")
    beside = asyncio.create_task(ends.until_moved(other, 0))
    network.may_go.clear()
    network.is_asked.clear()
    await network.is_asked.wait()  # for the other partition
    waiting = asyncio.create_task(ends.until_moved(where, 2))
    await asyncio.sleep(0)
    network.may_go.set()
    for _ in range(3):
        network.is_asked.clear()
        await network.is_asked.wait()
    assert not waiting.done()
    model.logs[where].truncate(1)
    assert await waiting == 1, "one that it has lost is told"
    beside.cancel()
    await asyncio.gather(beside, return_exceptions=True)
    await ends.close()
