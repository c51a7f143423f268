"""Whoever follows a topic and is cancelled ends, also where that meets it while it disconnects after a failure."""

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

from annals.workers.kafka.read import followed_topic
from annals.workers.kafka.read.followed_topic import FollowedTopic
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from slow_closing import OPTIONS, SlowClosing


class Following(FollowedTopic[Any]):
    def _tell(self, problem: str) -> None:
        pass

    async def _follow(self, client: Any) -> None:
        raise OSError("a connection broke")


async def test_one_that_is_cancelled_while_it_disconnects_ends_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_topic, "RETRY_S", 0.0)
    slow = SlowClosing(monkeypatch)
    task = asyncio.create_task(Following(OPTIONS, "subscriptions", None, PASSED_OVER, 0.0).run())
    assert await slow.cancelled_while_closing(task)


@pytest.mark.parametrize("error", [OSError("a connection broke"), MemoryError()], ids=["connection", "memory"])
async def test_one_that_fails_begins_again(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when it ends by what may be over in a moment: nobody would follow the topic any more."""
    begun, again = [], asyncio.Event()

    class FailsOnce(Following):
        async def _follow(self, client: Any) -> None:
            begun.append(client)
            if len(begun) == 1:
                raise error
            again.set()
            await asyncio.Event().wait()

    async def connect(*_: Any) -> AIOKafkaClient:
        return AIOKafkaClient()

    monkeypatch.setattr(followed_topic, "RETRY_S", 0.0)
    monkeypatch.setattr(followed_topic, "connect", connect)
    monkeypatch.setattr(followed_topic, "partitions_of", lambda *_: 1)
    task = asyncio.create_task(FailsOnce(OPTIONS, "subscriptions", None, PASSED_OVER, 0.0).run())
    done, _ = await asyncio.wait([task, looked := asyncio.create_task(again.wait())], return_when="FIRST_COMPLETED")
    assert done == {looked}
    task.cancel()
    await asyncio.wait([task])
