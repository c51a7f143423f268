"""Whoever follows a topic and is cancelled ends, also where that meets it while it disconnects after a failure."""

import asyncio
from typing import Any

import pytest

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
