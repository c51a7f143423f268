"""Whoever follows a topic and is cancelled ends, also where that meets it while it disconnects after a failure."""

import asyncio
from typing import Any

import pytest

from annals.workers.kafka.read import followed_topic
from annals.workers.kafka.read.followed_topic import FollowedTopic
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from slow_closing import OPTIONS, SlowClosing


class Following(FollowedTopic[Any]):
    error: BaseException

    def _tell(self, problem: str) -> None:
        pass

    async def _follow(self, client: Any) -> None:
        raise self.error


@pytest.mark.parametrize("error", [OSError("a connection broke"), MemoryError()], ids=["connection", "memory"])
async def test_one_that_is_cancelled_while_it_disconnects_ends_cancelled(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when it ends by the failure itself: nobody would follow the topic any more."""
    monkeypatch.setattr(Following, "error", error, raising=False)
    monkeypatch.setattr(followed_topic, "RETRY_S", 0.0)
    slow = SlowClosing(monkeypatch)
    task = asyncio.create_task(Following(OPTIONS, "subscriptions", None, PASSED_OVER, 0.0).run())
    assert await slow.cancelled_while_closing(task)
